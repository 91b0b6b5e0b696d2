// Where compression pays. A stated model computes a step's time from measured processor times and
// real bytes; the demo over shaped lines checks the model.

import type { Done, Effort, Experiment } from '../experiment.ts'
import { type Compute, computeOf } from './compute.ts'
import { costOf, type MeasuredCost, type ModelName, type WayName } from './costs.ts'
import { stepsOver, type Trip } from './overline.ts'
import { type Found, report } from './report.ts'
import type { Budget } from './sampling.ts'

type Run =
  | { readonly kind: 'compute'; readonly budget: Budget }
  | {
      readonly kind: 'cost'
      readonly model: ModelName
      readonly way: WayName
      readonly workers: number
      readonly budget: Budget
    }
  | { readonly kind: 'trip'; readonly trip: Trip }

/** The result of a run of each kind. */
type Result = Compute | MeasuredCost | readonly number[]

const RANKS: readonly WayName[] = [
  ...(['uncompressed', 'rank 1', 'rank 2', 'rank 4', 'rank 4, half-steps'] as const),
]
const WIRES: readonly WayName[] = ['uncompressed, f16', 'rank 4, f16', 'rank 4, int8']
/** The ways of Table 4. Gathered frames take longer the more workers there are. */
const SUMMED: readonly WayName[] = ['random k, rank 2', 'random block, rank 2']
const GATHERED: readonly WayName[] = ['top k, 1/32', 'top k, 1/136', 'sign + norm']

export const pays: Experiment<Run, Result> = {
  name: 'pays',
  title: 'Where compression pays',
  files: [],
  alone: true,
  runs,
  describe(run) {
    if (run.kind === 'compute') return 'gradients of the demo'
    if (run.kind === 'cost') return `${run.model}, ${run.way}`
    return `the demo over ${run.trip.mbits} Mbit/s, ${run.trip.delayMs} ms, ${run.trip.way}`
  },
  async execute(run, { signal }) {
    if (run.kind === 'compute') return await computeOf(run.budget)
    if (run.kind === 'cost') return await costOf(run.model, run.way, run.workers, run.budget)
    return await stepsOver(run.trip, signal)
  },
  report: (done) => report(foundIn(done)),
}

function runs(effort: Effort): Run[] {
  const budget = {
    full: { ms: 1500, least: 3 },
    quick: { ms: 500, least: 2 },
    tiny: { ms: 1, least: 1 },
  }[effort]
  const costs = (model: ModelName, ways: readonly WayName[], workers: number): Run[] =>
    ways.map((way) => ({ kind: 'cost', model, way, workers, budget }))
  const trips = (
    line: Pick<Trip, 'mbits' | 'delayMs'>,
    steps: Record<Trip['way'], number>,
  ): Run[] =>
    (['uncompressed', 'rank 4'] as const).map((way) => ({
      kind: 'trip',
      trip: { ...line, way, workers: 2, steps: steps[way] },
    }))
  const compute: Run = { kind: 'compute', budget: { ...budget, ms: 2 * budget.ms } }
  if (effort === 'tiny') {
    const steps = { uncompressed: 2, 'rank 4': 2 }
    return [
      compute,
      ...costs('demo', ['uncompressed', 'rank 4'], 2),
      ...trips({ mbits: 1000, delayMs: 1 }, steps),
    ]
  }
  if (effort === 'quick') {
    const steps = { uncompressed: 4, 'rank 4': 5 }
    return [
      compute,
      ...costs('demo', ['uncompressed', 'rank 1', 'rank 4', 'rank 4, half-steps'], 4),
      ...costs('ResNet-18', ['uncompressed', 'rank 2'], 2),
      ...trips({ mbits: 100, delayMs: 20 }, steps),
      ...trips({ mbits: 100, delayMs: 100 }, steps),
    ]
  }
  return [
    compute,
    ...costs('demo', [...RANKS, ...WIRES, ...GATHERED], 4),
    ...costs('ResNet-18', [...RANKS, ...WIRES, ...SUMMED], 2),
    ...costs('ResNet-18', GATHERED, 4),
    ...costs('LSTM', RANKS, 2),
    ...costs('GPT-2', RANKS, 1),
    ...trips({ mbits: 100, delayMs: 20 }, { uncompressed: 12, 'rank 4': 20 }),
    ...trips({ mbits: 10, delayMs: 100 }, { uncompressed: 5, 'rank 4': 20 }),
  ]
}

function foundIn(done: readonly Done<Run, Result>[]): Found {
  const computes: Compute[] = []
  const costs: Found['costs'][number][] = []
  const trips: Found['trips'][number][] = []
  for (const { run, result } of done) {
    if (run.kind === 'compute') computes.push(result as Compute)
    else if (run.kind === 'trip') trips.push({ trip: run.trip, stepsMs: result as number[] })
    else {
      const { model, way, workers } = run
      costs.push({ model, way, workers, cost: result as MeasuredCost })
    }
  }
  return { compute: computes[0]!, costs, trips }
}
