// Accordion's part of the page.
import { scatter } from '../charts.ts'
import { better, noWorse, type Pair } from '../claims.ts'
import type { Claim, Part } from '../experiment.ts'
import { bytes, table } from '../markdown.ts'
import { compare, type Spread, show } from '../spread.ts'
import { ABOUT } from '../tasks.ts'
import type { Task } from '../training.ts'

/** The results of one contestant over the seeds. */
export interface Outcome {
  readonly task: Task
  readonly learningRate: number
  readonly name: string
  readonly losses: readonly number[]
  readonly loss: Spread
  readonly accuracy: Spread
  /** sent by one worker in a step, the average of a training */
  readonly sentBytes: Spread
  /** mean over all matrices and the whole training */
  readonly meanRank: number
}

const SOURCE = 'Agarwal et al. 2021, Tables 1 and 2'

const ADAPTIVE = [
  { name: '1 ↔ 2', low: 'rank 1', high: 'rank 2' },
  { name: '1 ↔ 4', low: 'rank 1', high: 'rank 4' },
  { name: '2 ↔ 4', low: 'rank 2', high: 'rank 4' },
]

/** One adaptive contestant in a task, between its fixed ranks. */
interface Trio {
  readonly where: string
  readonly one: Outcome
  readonly low: Outcome
  readonly high: Outcome
}

export function report(outcomes: readonly Outcome[], windows: number): Part {
  const charts: Record<string, string> = {}
  const sections = settingsOf(outcomes).map((own, i) => {
    const [{ task, learningRate }] = own as [Outcome]
    const { title } = ABOUT[task.name]
    const name = `accordion-${i + 1}.svg`
    charts[name] = chart(own)
    return [
      `### Ranks of the ${title}, learning rate ${learningRate}`,
      tableOf(own),
      `![${title}: loss at the end against bytes](${name})`,
    ].join('\n\n')
  })
  const trios = triosOf(outcomes)
  return {
    markdown: [introduction(windows), ...sections, lowRanks(trios)].join('\n\n'),
    charts,
    claims: claimsOf(trios),
    figures: outcomes.map(({ task, ...others }) => ({ task: task.name, ...others })),
  }
}

/** Groups the outcomes by task and learning rate. */
function settingsOf(outcomes: readonly Outcome[]): Outcome[][] {
  const settings = new Map<string, Outcome[]>()
  for (const outcome of outcomes) {
    const where = whereOf(outcome)
    settings.set(where, [...(settings.get(where) ?? []), outcome])
  }
  return [...settings.values()]
}

function whereOf({ task, learningRate }: Outcome): string {
  return `${task.name}, rate ${learningRate}`
}

function introduction(windows: number): string {
  return `The models and data above, 4 workers; with the learning rate that was found for uncompressed gradients, as in the paper,
and, where it is another, with rank 4's. \`accordion\` decides for each matrix at the end of each of ${windows} windows:
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
  return settingsOf(outcomes).flatMap((own) =>
    ADAPTIVE.flatMap(({ name, low, high }) => {
      const [one, below, above] = [name, low, high].map((wanted) =>
        own.find((outcome) => outcome.name === wanted),
      )
      if (!one || !below || !above) return []
      return [{ where: whereOf(one), one, low: below, high: above }]
    }),
  )
}

/**
 * The part of the bytes that was saved. 0: as many bytes as the high rank; 1: as few as the low
 * one.
 */
function savedOf({ one, low, high }: Trio): number {
  const most = high.sentBytes.mean
  return (most - one.sentBytes.mean) / (most - low.sentBytes.mean)
}

/** Says where the low rank is too low, and says so, too, if it is so nowhere. */
function lowRanks(trios: readonly Trio[]): string {
  const losing = trios.filter(({ low, high }) => compare(low.loss, high.loss) > 0)
  if (losing.length === 0) {
    return 'Nowhere does a low rank lose against its high one by more than the spread of the seeds.'
  }
  const told = losing.map(({ where, low, high }) => {
    const percent = 100 * (low.loss.mean / high.loss.mean - 1)
    return `${where}, ${low.name} and ${high.name} (${show(low.loss, 3)}, ${show(high.loss, 3)}: ${percent.toFixed(1)} %)`
  })
  return `The low rank is worse than the high one, by the rule at the top, in ${told.join('; ')}.`
}

function claimsOf(trios: readonly Trio[]): Claim[] {
  if (trios.length === 0) return []
  const pair = (trio: Trio, other: Outcome): Pair => ({
    where: trio.where,
    one: { name: trio.one.name, values: trio.one.losses },
    other: { name: other.name, values: other.losses },
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
        .map((trio) => `${trio.where}, ${trio.one.name}: ${Math.round(100 * savedOf(trio))} %`)
        .join('; '),
    },
  ]
}

function chart(outcomes: readonly Outcome[]): string {
  const [{ task, learningRate }] = outcomes as [Outcome]
  const { title, loss } = ABOUT[task.name]
  return scatter(
    `${title}, learning rate ${learningRate}: bars over seeds`,
    outcomes.map(({ name, sentBytes, loss: { mean, least, most } }) => ({
      ...{ name, x: sentBytes.mean, y: mean, least, most },
      group: name.includes('↔') ? 0 : 1,
    })),
    ['Accordion', 'fixed'],
    {
      label: 'bytes that a worker sends in a step, on the average (log scale)',
      log: true,
      tickFormat: bytes,
    },
    { label: loss },
  )
}
