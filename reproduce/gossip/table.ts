// The table of trainings without a coordinator.
import * as Plot from '@observablehq/plot'
import { COLOURS, draw } from '../charts.ts'
import type { Effort, Part } from '../experiment.ts'
import { bytes, count, table } from '../markdown.ts'
import { type Spread, show, spreadOf } from '../spread.ts'
import { claimsOf } from './claims.ts'
import { legend } from './consensus.ts'
import { rates, TRAINED, titleOf } from './methods.ts'
import { bestOf, cellsOf, type Find, lossOf, type Outcome, searchOf, tuningsOf } from './runs.ts'
import type { Training } from './training.ts'

function finite(loss: number): number | null {
  return Number.isFinite(loss) ? loss : null
}

export function reportTraining(effort: Effort, find: Find): Part {
  const cells = cellsOf(effort, find)
  const outcomes = cells.map(({ trainings, ...row }): Outcome => {
    const trained = trainings.map((training) => find(training)!)
    return {
      ...row,
      losses: trained.map(lossOf),
      worst: trained.map(({ end }) => end?.worst.loss ?? Number.POSITIVE_INFINITY),
      bytes: spreadOf(trained.map(({ bytes, steps }) => bytes / steps)).mean,
      ends: trained.flatMap(({ end }) => end ?? []),
    }
  })
  const [{ trainings: some }] = cells as [(typeof cells)[number]]
  const { parameters } = find(some[0]!)!
  const rings = [...new Set(outcomes.map(({ nodes }) => nodes))]
  const fewest = some[0]!.steps
  const usual = outcomes.filter(({ steps }) => steps === fewest)
  const longer = outcomes.filter(({ steps }) => steps > fewest)
  return {
    markdown: [
      introduction(some[0]!, parameters),
      ...rings.flatMap((nodes) => [
        `### A ring of ${nodes} that trains`,
        tableOf(usual.filter((outcome) => outcome.nodes === nodes)),
      ]),
      tuning(effort, find),
      `![loss at the end against what a node sends, ring of ${rings[0]}](gossip-training.svg)`,
      ...(longer.length > 0 ? [lasting(longer, usual)] : []),
    ].join('\n\n'),
    charts: {
      'gossip-training.svg': chart(usual.filter(({ nodes }) => nodes === rings[0])),
    },
    claims: claimsOf(outcomes),
    figures: outcomes.map(({ losses, worst, ...others }) => ({
      ...others,
      losses: losses.map(finite),
      worst: worst.map(finite),
    })),
  }
}

function introduction({ steps, rate }: Training, parameters: number): string {
  return `Every node has a model of its own (the LSTM on Tiny Shakespeare, ${count(parameters)} parameters) and a stretch of the training text
that no other sees. A step is the authors' D-PSGD: gradients at X, gossip of the same X, then each node's own SGD with
Nesterov's momentum 0.9. ${count(steps)} steps; the learning rate rises over the first tenth and is divided by ten at 2/3 and 8/9. A step
is ${count(1024)} characters in all, however many nodes there are, and everything has one learning rate, ${rate}, that of an all-reduce
(the table of what was tried says which it had), which here means frames of whole gradients, and everyone the mean of them.

*Untuned* are defaults, γ = 1, and, for methods without one, what PowerGossip's authors ran ResNet-20 with. *Tuned* are the best of the γ
below, tried with a seed of its own and on the ring of eight alone, and for plain gossip and PowerGossip γ\\* of the ring's spectrum,
which nobody has to look for. Losses are of held-out text, in nats a character, of the mean of all models and of the worst node.
Distance is √(mean ‖xᵢ − x̄‖²) / ‖x̄‖ at the end. Bytes are those of all frames to both neighbours, headers included; *times fewer*
is against plain gossip.`
}

function tableOf(outcomes: readonly Outcome[]): string {
  const plain = outcomes.find(({ gossip, tuned }) => gossip?.method === 'plain' && !tuned)!
  const head = ['', '', 'loss', 'worst node', 'right', 'distance', 'sent a step', 'times fewer']
  const rows = outcomes.map(({ gossip, tuned, unbeaten, losses, worst, bytes: sent, ends }) => [
    gossip ? titleOf(gossip.method) : 'all-reduce',
    gossip
      ? `${tuned ? 'tuned' : unbeaten ? 'untuned and tuned' : 'untuned'}: ${rates(gossip)}`
      : '',
    told(losses),
    told(worst),
    ends.length === 0
      ? ''
      : `${(100 * spreadOf(ends.map(({ average }) => average.accuracy)).mean).toFixed(1)} %`,
    ends.length === 0 ? '' : spreadOf(ends.map(({ distance }) => distance)).mean.toPrecision(2),
    bytes(sent),
    (plain.bytes / sent).toFixed(1),
  ])
  return table(head, rows)
}

/** Says whether the loss that gossip costs passes in a longer training. */
function lasting(longer: readonly Outcome[], usual: readonly Outcome[]): string {
  const [{ nodes, steps }] = longer as [Outcome]
  const [{ steps: fewer }] = usual as [Outcome]
  const rows = longer.map((one) => {
    const { gossip, tuned, losses, bytes: sent, ends } = one
    const before = usual.find(
      (other) =>
        other.nodes === nodes &&
        other.tuned === tuned &&
        JSON.stringify(other.gossip) === JSON.stringify(gossip),
    )!
    const distance = spreadOf(ends.map((end) => end.distance)).mean.toPrecision(2)
    const name = gossip ? titleOf(gossip.method) : 'all-reduce'
    return [
      name,
      gossip ? rates(gossip) : '',
      told(before.losses),
      told(losses),
      distance,
      bytes(sent),
    ]
  })
  const head = ['', '', `${fewer} steps`, `${steps} steps`, 'distance', 'sent a step']
  return [
    `### The ring of ${nodes}, for ${steps / fewer} times as many steps`,
    `With the same learning rate and the same γ; a model sees ${count((1024 / nodes) * steps)} characters in all.`,
    table(head, rows),
  ].join('\n\n')
}

/** @param losses  one for each seed */
function told(losses: readonly number[]): string {
  const diverged = losses.filter((loss) => !Number.isFinite(loss)).length
  return diverged > 0 ? `${diverged} of ${losses.length} diverged` : show(spreadOf(losses), 3)
}

/** The table of the settings that were tried. */
function tuning(effort: Effort, find: Find): string {
  const searches = [searchOf(effort), ...tuningsOf(effort, find).values()]
  const rows = searches
    .filter((search) => search.length > 1)
    .map((search) => {
      const best = bestOf(search, find)
      const tried = search.map((training) => {
        const { gossip, rate } = training
        const what = gossip ? rates(gossip) : `rate ${rate}`
        const loss = lossOf(find(training)!)
        const text = `${what}: ${Number.isFinite(loss) ? loss.toFixed(3) : 'diverged'}`
        return training === best ? `**${text}**` : text
      })
      const [{ gossip }] = search as [Training]
      return [gossip ? titleOf(gossip.method) : 'all-reduce', tried.join('; ')]
    })
  return rows.length === 0
    ? 'Nothing was tuned.'
    : table(['tried on the ring of 8', ''], rows, 'left')
}

function chart(outcomes: readonly Outcome[]): string {
  const shown = outcomes
    .filter(({ gossip, losses }) => gossip !== null && losses.every(Number.isFinite))
    .map(({ gossip, tuned, losses, bytes }) => {
      const { mean, least, most }: Spread = spreadOf(losses)
      const { method } = gossip!
      return { name: titleOf(method), tuned, bytes, mean, least, most }
    })
  return draw('Loss at the end against bytes: hollow as they come, full tuned', {
    marginRight: 190,
    inset: 10,
    color: { domain: TRAINED.map(titleOf), range: [...COLOURS] },
    x: {
      type: 'log',
      grid: true,
      label: 'bytes that a node sends in a step',
      labelAnchor: 'center',
      labelArrow: 'none',
      ticks: 4,
      tickFormat: bytes,
    },
    y: {
      grid: true,
      label: 'held-out loss of the average, nats',
      labelAnchor: 'center',
      labelArrow: 'none',
    },
    marks: [
      Plot.ruleX(shown, { x: 'bytes', y1: 'least', y2: 'most', stroke: 'name' }),
      ...[false, true].map((tuned) => {
        const some = shown.filter((one) => one.tuned === tuned)
        const fill = tuned ? 'name' : 'white'
        return Plot.dot(some, { x: 'bytes', y: 'mean', r: 5, stroke: 'name', strokeWidth: 2, fill })
      }),
      ...legend(TRAINED.map((method) => ({ name: titleOf(method), text: titleOf(method) }))),
    ],
  })
}
