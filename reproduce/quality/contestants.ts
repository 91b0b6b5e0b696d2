// The contestants and their learning rates.
import { plan } from 'lowrank'
import type { Effort } from '../experiment.ts'
import { tasksOf, USUAL } from '../tasks.ts'
import { shapesOf, type Task, type Training } from '../training.ts'
import type { Way } from '../ways.ts'
import { bestOf, type Find } from './found.ts'

export interface Contestant {
  /** name in tables; the same for both tasks */
  readonly name: string
  readonly way: (task: Task) => Way
  /** numbers of workers in a full run */
  readonly workers: readonly number[]
  /** It takes the learning rate of this contestant and is not tuned. */
  readonly rateOf?: string
  /** numbers of workers in a quick run; absent: not in it */
  readonly quick?: readonly number[]
}

const FEW = [4]
const BOTH = [4, 16]

export const CONTESTANTS: readonly Contestant[] = [
  { name: 'uncompressed', way: () => ({ method: 'uncompressed' }), workers: BOTH, quick: BOTH },
  { name: 'rank 1', way: () => ({ rank: 1 }), workers: BOTH, quick: FEW },
  { name: 'rank 2', way: () => ({ rank: 2 }), workers: BOTH, quick: BOTH },
  { name: 'rank 4', way: () => ({ rank: 4 }), workers: BOTH, quick: FEW },
  {
    name: 'rank 2, no feedback',
    way: () => ({ rank: 2, errorFeedback: 'none' }),
    workers: BOTH,
    quick: FEW,
  },
  { name: 'rank 2, no warm start', way: () => ({ rank: 2, warmStart: false }), workers: FEW },
  { name: 'rank 2, fixed Q', way: () => ({ rank: 2, warmStart: 'fixed' }), workers: FEW },
  {
    name: 'rank 2, f16',
    way: () => ({ rank: 2, wire: 'f16' }),
    workers: FEW,
    rateOf: 'rank 2', // it differs from rank 2 by rounding alone
  },
  {
    name: 'rank 2, int8',
    way: () => ({ rank: 2, wire: 'int8' }),
    workers: FEW,
    rateOf: 'rank 2',
    quick: FEW,
  },
  {
    name: 'half-steps, rank 2',
    way: () => ({ method: 'halfSteps', rank: 2 }),
    workers: BOTH,
    quick: FEW,
  },
  {
    name: 'rank 2, 4 iterations',
    way: () => ({ rank: 2, iterations: 4 }),
    workers: FEW,
    rateOf: 'rank 2',
  },
  { name: 'random block', way: () => ({ method: 'randomBlock', rank: 2 }), workers: FEW },
  { name: 'random K', way: () => ({ method: 'randomK', rank: 2 }), workers: FEW, quick: FEW },
  { name: 'top K', way: topKAsRank2, workers: BOTH, quick: FEW },
  { name: 'sign + norm', way: () => ({ method: 'signNorm' }), workers: BOTH },
]

/** Top K with as many floats and indices together as rank 2 has floats. */
function topKAsRank2(task: Task): Way {
  return { method: 'topK', ratio: 1 / plan(shapesOf(task), { rank: 2 }).ratio }
}

export const SEEDS: Record<Effort, readonly number[]> = { full: [1, 2, 3], quick: [1], tiny: [1] }

/**
 * Learning rates in which the best is searched, as multiples of `USUAL`, on the first seed and 4
 * workers. While the best rate is at an end of the grid, the grid gets one more: half or twice
 * that.
 */
const GRID: Record<Effort, readonly number[]> = {
  full: [1 / 8, 1 / 4, 1 / 2, 1, 2],
  quick: [1 / 2],
  tiny: [1 / 2],
}

/** No grid gets more rates than this. */
const MOST_RATES = 9

/**
 * In a full run these train once more, for so many times the steps: does the cost of compression
 * pass?
 */
const LONGER = {
  times: 4,
  task: 'text',
  names: [
    ...['uncompressed', 'rank 1', 'rank 2', 'rank 4'],
    ...['half-steps, rank 2', 'top K', 'sign + norm'],
  ],
} as const

/** The contestants of a run, with the numbers of workers that they have in it. */
export function contestantsOf(effort: Effort): readonly Contestant[] {
  if (effort === 'full') return CONTESTANTS
  const some = CONTESTANTS.flatMap((one) => (one.quick ? [{ ...one, workers: one.quick }] : []))
  return effort === 'quick' ? some : some.slice(0, 2).map((one) => ({ ...one, workers: FEW }))
}

/** One contestant in one setting; `null` while its learning rate is not known yet. */
export interface Cell {
  readonly task: Task
  /** with more steps than usual, at the learning rate that was found with the usual number */
  readonly longer: boolean
  readonly workers: number
  readonly contestant: Contestant
  readonly learningRate: number | null
  /** one training a seed */
  readonly trainings: readonly Training[]
}

/** A grid of learning rates. */
export interface Search {
  readonly task: Task
  readonly contestant: Contestant
  /** from the least to the highest rate */
  readonly trainings: readonly Training[]
}

/** The grids, as wide as the results so far require. */
export function searchesOf(effort: Effort, find: Find): readonly Search[] {
  const tuned = contestantsOf(effort).filter((one) => one.rateOf === undefined)
  return Object.values(tasksOf(effort)).flatMap((task) =>
    tuned.map((contestant) => {
      const grid = GRID[effort].map((factor) => ({
        task,
        workers: 4,
        way: contestant.way(task),
        learningRate: factor * USUAL[task.name],
        seed: SEEDS[effort][0]!,
      }))
      return { task, contestant, trainings: widened(grid, find) }
    }),
  )
}

function widened(grid: readonly Training[], find: Find): readonly Training[] {
  const best = bestOf(grid, find)
  if (best === null || grid.length === 1 || grid.length === MOST_RATES) return grid
  const { learningRate } = best
  if (best === grid[0]) {
    return widened([{ ...best, learningRate: learningRate / 2 }, ...grid], find)
  }
  if (best === grid.at(-1)) {
    return widened([...grid, { ...best, learningRate: 2 * learningRate }], find)
  }
  return grid
}

export function cellsOf(effort: Effort, find: Find): Cell[] {
  const searches = searchesOf(effort, find)
  const usual = Object.values(tasksOf(effort)).flatMap((task) =>
    contestantsOf(effort).flatMap((contestant) =>
      contestant.workers.map((workers) => ({ task, contestant, workers, longer: false })),
    ),
  )
  const task = tasksOf(effort, LONGER.times)[LONGER.task]
  const longer = contestantsOf(effort)
    .filter(({ name }) => effort === 'full' && (LONGER.names as readonly string[]).includes(name))
    .map((contestant) => ({ task, contestant, workers: 4, longer: true }))
  return [...usual, ...longer].map((setting) => {
    const { task, contestant, workers } = setting
    const wanted = contestant.rateOf ?? contestant.name
    const { trainings: grid } = searches.find(
      (one) => one.task.name === task.name && one.contestant.name === wanted,
    )!
    const learningRate = bestOf(grid, find)?.learningRate ?? null
    const way = contestant.way(task)
    const trainings =
      learningRate === null
        ? []
        : SEEDS[effort].map((seed) => ({ task, workers, way, learningRate, seed }))
    return { ...setting, learningRate, trainings }
  })
}
