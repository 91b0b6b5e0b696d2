// Accordion's part of the page.
import * as Plot from '@observablehq/plot'
import { draw } from '../charts.ts'
import { better, noWorse, type Pair } from '../claims.ts'
import type { Claim, Part } from '../experiment.ts'
import { bytes, table } from '../markdown.ts'
import { compare, type Spread, show } from '../spread.ts'
import { ABOUT } from '../tasks.ts'
import type { Task } from '../training.ts'

/** What the seeds of one contestant came to. */
export interface Outcome {
  readonly task: Task
  readonly name: string
  readonly losses: readonly number[]
  readonly loss: Spread
  readonly accuracy: Spread
  /** by one worker in a step, on the average over the training */
  readonly sentBytes: Spread
  /** of all matrices, over the training */
  readonly meanRank: number
}

const SOURCE = 'Agarwal et al. 2021, Tables 1 and 2'

const ADAPTIVE = [
  { name: '1 ↔ 2', low: 'rank 1', high: 'rank 2' },
  { name: '1 ↔ 4', low: 'rank 1', high: 'rank 4' },
  { name: '2 ↔ 4', low: 'rank 2', high: 'rank 4' },
]

/** One of them in a task, between its fixed ranks. */
interface Trio {
  readonly where: string
  readonly one: Outcome
  readonly low: Outcome
  readonly high: Outcome
}

export function report(outcomes: readonly Outcome[], windows: number): Part {
  const tasks = [...new Set(outcomes.map(({ task }) => task))]
  const own = (task: Task) => outcomes.filter((outcome) => outcome.task === task)
  const sections = tasks.map((task) => {
    const { title } = ABOUT[task.name]
    return [
      `### Ranks of the ${title}`,
      tableOf(own(task)),
      `![${title}: loss at the end against bytes](accordion-${task.name}.svg)`,
    ].join('\n\n')
  })
  const trios = triosOf(outcomes)
  return {
    markdown: [introduction(windows), ...sections, lowRanks(trios)].join('\n\n'),
    charts: Object.fromEntries(
      tasks.map((task) => [`accordion-${task.name}.svg`, chart(task, own(task))]),
    ),
    claims: claimsOf(trios),
    figures: outcomes.map(({ task, ...others }) => ({ task: task.name, ...others })),
  }
}

function introduction(windows: number): string {
  return `The models, data and learning rates above, 4 workers. \`accordion\` decides for each matrix at the end of each of ${windows} windows:
the low rank if the norm of the window's summed gradients differs from that of the window before by less than half,
else the high one; and all go to the high rank when the learning rate falls. *Rank* is the mean over matrices and steps,
*saved* the part of the bytes between the high rank's and the low rank's that was not sent.`
}

function tableOf(outcomes: readonly Outcome[]): string {
  return table(
    ['', 'loss', 'right answers', 'rank', 'sent a step', 'saved'],
    outcomes.map((outcome) => {
      const { name, loss, accuracy, meanRank, sentBytes } = outcome
      const [trio] = triosOf(outcomes).filter(({ one }) => one === outcome)
      return [
        name,
        show(loss, 3),
        `${(100 * accuracy.mean).toFixed(1)} %`,
        meanRank.toFixed(2),
        bytes(sentBytes.mean),
        trio ? `${Math.round(100 * savedOf(trio))} %` : '',
      ]
    }),
  )
}

function triosOf(outcomes: readonly Outcome[]): Trio[] {
  return outcomes.flatMap((one) => {
    const ranks = ADAPTIVE.find(({ name }) => name === one.name)
    if (!ranks) return []
    const fixed = (name: string) =>
      outcomes.find((outcome) => outcome.task === one.task && outcome.name === name)!
    const where = `${one.task.name}, ${one.name}`
    return [{ where, one, low: fixed(ranks.low), high: fixed(ranks.high) }]
  })
}

/** 0: as many bytes as the high rank; 1: as few as the low one. */
function savedOf({ one, low, high }: Trio): number {
  const most = high.sentBytes.mean
  return (most - one.sentBytes.mean) / (most - low.sentBytes.mean)
}

/** Where the low rank is too low: said whether it was found or not. */
function lowRanks(trios: readonly Trio[]): string {
  const losing = trios.filter(({ low, high }) => compare(low.loss, high.loss) > 0)
  if (losing.length === 0) {
    return 'Nowhere does a low rank lose against its high one by more than the spread of the seeds.'
  }
  const told = losing.map(({ where, low, high }) => {
    const percent = 100 * (low.loss.mean / high.loss.mean - 1)
    return `${where} (${show(low.loss, 3)} against ${show(high.loss, 3)}: ${percent.toFixed(1)} %)`
  })
  return `The low rank is worse than the high one, by the rule at the top, in ${told.join('; ')}.`
}

function claimsOf(trios: readonly Trio[]): Claim[] {
  if (trios.length === 0) return []
  const pair = (trio: Trio, other: Outcome): Pair => ({
    where: trio.where,
    one: trio.one.losses,
    other: other.losses,
  })
  const losing = trios.filter(({ low, high }) => compare(low.loss, high.loss) > 0)
  const claim =
    'Where the low rank is worse than the high one, Accordion is better than the low rank'
  return [
    noWorse(
      'Accordion is as good as the high rank throughout',
      SOURCE,
      trios.map((trio) => pair(trio, trio.high)),
    ),
    losing.length > 0
      ? better(
          claim,
          SOURCE,
          losing.map((trio) => pair(trio, trio.low)),
        )
      : { claim, source: SOURCE, verdict: 'not decidable', numbers: 'nowhere is it worse' },
    {
      claim: 'Accordion saves at least half of the bytes that the low rank saves',
      source: SOURCE,
      verdict: trios.every((trio) => savedOf(trio) >= 0.5) ? 'found' : 'not found',
      numbers: trios
        .map((trio) => `${trio.where}: ${Math.round(100 * savedOf(trio))} %`)
        .join('; '),
    },
  ]
}

function chart(task: Task, outcomes: readonly Outcome[]): string {
  const shown = outcomes
    .filter(({ loss }) => Number.isFinite(loss.mean))
    .map(({ name, sentBytes, loss }) => ({
      name,
      kind: name.includes('↔') ? 'Accordion' : 'fixed',
      sentBytes: sentBytes.mean,
      ...loss,
    }))
  return draw(`${ABOUT[task.name].title}: Accordion and fixed ranks, bars over seeds`, {
    color: { legend: false, domain: ['Accordion', 'fixed'], range: ['#e15759', '#4e79a7'] },
    x: {
      type: 'log',
      grid: true,
      label: 'bytes that a worker sends in a step, on the average (log scale)',
      labelAnchor: 'center',
      labelArrow: 'none',
      ticks: 6,
      tickFormat: bytes,
    },
    y: { grid: true, label: ABOUT[task.name].loss, labelAnchor: 'center', labelArrow: 'none' },
    marginRight: 90,
    marks: [
      Plot.ruleX(shown, {
        x: 'sentBytes',
        y1: 'least',
        y2: 'most',
        stroke: 'kind',
        strokeWidth: 2,
      }),
      Plot.dot(shown, { x: 'sentBytes', y: 'mean', fill: 'kind', r: 4 }),
      Plot.text(shown, { x: 'sentBytes', y: 'mean', text: 'name', textAnchor: 'start', dx: 7 }),
    ],
  })
}
