// The runs: a search for the learning rate that suits an all-reduce, trainings at that rate with
// methods untuned and tuned, and averages of matrices.

import { ring, spectralGap } from 'lowrank/topology'
import type { Done, Effort } from '../experiment.ts'
import type { Averaged, Averaging } from './averaging.ts'
import {
  AVERAGED,
  candidates,
  type MethodName,
  ofSpectrum,
  type Setting,
  sameSetting,
  TRAINED,
  untuned,
} from './methods.ts'
import type { Trained, Training } from './training.ts'

export type Run = Training | Averaging
export type Result = Trained | Averaged

/** Finds the result of a run by its description. */
export type Find = <R extends Run>(run: R) => ResultOf<R> | undefined
type ResultOf<R extends Run> = R extends Training ? Trained : Averaged

interface Extent {
  readonly nodes: readonly number[]
  readonly steps: number
  readonly thorough: boolean
  readonly seeds: readonly number[]
  /** learning rates that are tried for an all-reduce; a single one is taken untried */
  readonly rates: readonly number[]
  /** settings of a method that are tried, at most */
  readonly tried: number
  /** bytes that a node sends where matrices are averaged */
  readonly bytes: number
  /** rings for slopes; iterations go on to `reach` / gap */
  readonly rings: readonly number[]
  readonly reach: number
  readonly slopeSeeds: readonly number[]
}

const EXTENTS: Readonly<Record<Effort, Extent>> = {
  full: {
    nodes: [8, 16],
    steps: 180,
    thorough: true,
    seeds: [1, 2, 3],
    rates: [2, 4, 8],
    tried: 4,
    bytes: 2e6,
    rings: [8, 16, 32],
    reach: 50,
    slopeSeeds: [1, 2, 3],
  },
  quick: {
    nodes: [8],
    steps: 40,
    thorough: false,
    seeds: [1],
    rates: [2],
    tried: 1,
    bytes: 3e5,
    rings: [8, 16, 32],
    reach: 16,
    slopeSeeds: [1],
  },
  tiny: {
    nodes: [8],
    steps: 3,
    thorough: false,
    seeds: [1],
    rates: [4],
    tried: 1,
    bytes: 5e4,
    rings: [8, 16],
    reach: 8,
    slopeSeeds: [1],
  },
}

/** In a full run these train once more on the ring of eight, for so many times the steps. */
const LONGER = { times: 4, nodes: 8, methods: ['plain', 'power1', 'power2', 'chocoSign'] }

/** Tuning has a seed of its own, so the table's seeds are unseen. */
const TUNING = { nodes: 8, seed: 0 }
/** Small, because PowerGossip's slope settles after fewer iterations on smaller matrices. */
const SLOPE_SIZE = 16
const SLOPE_METHODS: readonly MethodName[] = ['plain', 'power1', 'powerCold']

/** A row of a table. */
export interface Cell {
  readonly nodes: number
  readonly steps: number
  /** null: all-reduce */
  readonly gossip: Setting | null
  readonly tuned: boolean
  /** tuning found no setting better than the untuned one */
  readonly unbeaten: boolean
  /** one for each seed */
  readonly trainings: readonly Training[]
}

/** A row with the results of its seeds. */
export interface Outcome {
  readonly nodes: number
  readonly steps: number
  /** null: all-reduce */
  readonly gossip: Setting | null
  readonly tuned: boolean
  /** tuning found no setting better than the untuned one */
  readonly unbeaten: boolean
  /** Infinity where training diverged */
  readonly losses: readonly number[]
  readonly worst: readonly number[]
  /** sent by a node in a step */
  readonly bytes: number
  readonly ends: readonly NonNullable<Trained['end']>[]
}

export function finder(done: readonly Done<Run, Result>[]): Find {
  const found = new Map(done.map(({ run, result }) => [JSON.stringify(run), result]))
  return <R extends Run>(run: R) => found.get(JSON.stringify(run)) as ResultOf<R> | undefined
}

/** All runs that are known to be needed. */
export function runsOf(effort: Effort, find: Find): Run[] {
  const searches = [searchOf(effort), ...tuningsOf(effort, find).values()]
  const cells = cellsOf(effort, find).flatMap(({ trainings }) => trainings)
  const all = [
    ...searches.filter((search) => search.length > 1).flat(),
    ...cells,
    ...averagesOf(effort),
    ...slopesOf(effort),
  ]
  return [...new Map(all.map((run) => [JSON.stringify(run), run])).values()]
}

/** Trainings with an all-reduce at each learning rate. */
export function searchOf(effort: Effort): Training[] {
  const { rates } = EXTENTS[effort]
  return rates.map((rate) => trainingOf(effort, { ...TUNING, rate, gossip: null }))
}

/** The trainings that tune each method. Empty until the learning rate is known. */
export function tuningsOf(effort: Effort, find: Find): ReadonlyMap<MethodName, Training[]> {
  const best = bestOf(searchOf(effort), find)
  if (best === null) return new Map()
  const tried = TRAINED.map((method): [MethodName, Training[]] => {
    const settings = candidates(method, 'training').slice(0, EXTENTS[effort].tried)
    return [
      method,
      settings.map((gossip) => trainingOf(effort, { ...TUNING, rate: best.rate, gossip })),
    ]
  })
  return new Map(tried.filter(([, trainings]) => trainings.length > 0))
}

/** The rows of the tables. Empty until all tuning is done. */
export function cellsOf(effort: Effort, find: Find): Cell[] {
  const best = bestOf(searchOf(effort), find)
  const tunings = tuningsOf(effort, find)
  if (best === null || [...tunings.values()].some((tried) => bestOf(tried, find) === null))
    return []
  const { nodes: rings, seeds, steps } = EXTENTS[effort]
  const usual = rings.flatMap((nodes) => {
    const rows = TRAINED.flatMap((method) => {
      const own = untuned(method)
      const tried = tunings.get(method)
      const tuned = tried ? bestOf(tried, find)!.gossip! : ofSpectrum(method, nodes)
      const same = sameSetting(tuned, own)
      const unbeaten = same && tried !== undefined && tried.length > 1
      return [
        { gossip: own, tuned: false, unbeaten },
        ...(same ? [] : [{ gossip: tuned, tuned: true, unbeaten: false }]),
      ]
    })
    return [{ gossip: null, tuned: true, unbeaten: false }, ...rows].map((row): Cell => {
      const { gossip } = row
      const trainings = seeds.map((seed) =>
        trainingOf(effort, { nodes, seed, rate: best.rate, gossip }),
      )
      return { nodes, steps, ...row, trainings }
    })
  })
  if (effort !== 'full') return usual
  const longer = usual
    .filter(({ nodes, gossip }) => {
      return nodes === LONGER.nodes && (!gossip || LONGER.methods.includes(gossip.method))
    })
    .map((cell): Cell => {
      const more = LONGER.times * steps
      const trainings = cell.trainings.map((training) => ({ ...training, steps: more }))
      return { ...cell, steps: more, trainings }
    })
  return [...usual, ...longer]
}

/**
 * The training with the least loss; null: not all are done. A single one is returned without being
 * run.
 */
export function bestOf(trainings: readonly Training[], find: Find): Training | null {
  if (trainings.length === 1) return trainings[0]!
  const found = trainings.map(find)
  if (found.includes(undefined)) return null
  const losses = found.map((trained) => lossOf(trained!))
  return trainings[losses.indexOf(Math.min(...losses))]!
}

/** The loss of the mean of all models; Infinity: training diverged. */
export function lossOf({ end }: Trained): number {
  return end?.average.loss ?? Number.POSITIVE_INFINITY
}

/**
 * Averages of 100 × 100 normals on a ring of eight: each method untuned, and with the settings that
 * tuning tries or the topology gives.
 */
export function averagesOf(effort: Effort): Averaging[] {
  const { bytes, tried } = EXTENTS[effort]
  const settings = AVERAGED.flatMap((method) => {
    const some = candidates(method, 'averaging').slice(0, tried)
    return some.length > 0 ? some : [untuned(method), ofSpectrum(method, 8)]
  })
  return settings.map((gossip) => ({
    kind: 'averaging',
    nodes: 8,
    size: 100,
    seed: 1,
    gossip,
    iterations: 10_000,
    bytes,
  }))
}

export function slopesOf(effort: Effort): Averaging[] {
  const { rings, reach, slopeSeeds } = EXTENTS[effort]
  return rings.flatMap((nodes) =>
    SLOPE_METHODS.flatMap((method) => {
      // Plain gossip is at float32's rounding after 11 / gap.
      const far = method === 'plain' ? 10 : reach
      const iterations = Math.round(far / spectralGap(ring(nodes)))
      return slopeSeeds.map(
        (seed): Averaging => ({
          kind: 'averaging',
          nodes,
          size: SLOPE_SIZE,
          seed,
          gossip: untuned(method),
          iterations,
          bytes: 1e12,
        }),
      )
    }),
  )
}

function trainingOf(
  effort: Effort,
  run: Pick<Training, 'nodes' | 'seed' | 'rate' | 'gossip'>,
): Training {
  const { steps, thorough } = EXTENTS[effort]
  return { kind: 'training', ...run, steps, thorough }
}
