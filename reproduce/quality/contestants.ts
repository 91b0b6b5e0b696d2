// Who is compared, and with which learning rates.
import { plan } from 'lowrank'
import type { Effort } from '../experiment.ts'
import { tasksOf, USUAL } from '../tasks.ts'
import { shapesOf, type Task, type Training } from '../training.ts'
import type { Way } from '../ways.ts'

export interface Contestant {
  /** how tables call it; the same for both tasks */
  readonly name: string
  readonly way: (task: Task) => Way
  /** numbers of workers in a full run */
  readonly workers: readonly number[]
  /** It has the learning rate of this one, and none of its own. */
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
    rateOf: 'rank 2', // it differs from that by rounding alone
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

/** As many floats and indices as rank 2 has floats. */
function topKAsRank2(task: Task): Way {
  return { method: 'topK', ratio: 1 / plan(shapesOf(task), { rank: 2 }).ratio }
}

export const SEEDS: Record<Effort, readonly number[]> = { full: [1, 2, 3], quick: [1], tiny: [1] }

/** Times what is usual: the grid that learning rates are looked for in, on the first seed and 4 workers. */
const GRID: Record<Effort, readonly number[]> = {
  full: [1 / 8, 1 / 4, 1 / 2, 1, 2],
  quick: [1 / 2],
  tiny: [1 / 2],
}

/** With the numbers of workers that they have in such a run. */
export function contestantsOf(effort: Effort): readonly Contestant[] {
  if (effort === 'full') return CONTESTANTS
  const some = CONTESTANTS.flatMap((one) => (one.quick ? [{ ...one, workers: one.quick }] : []))
  return effort === 'quick' ? some : some.slice(0, 2).map((one) => ({ ...one, workers: FEW }))
}

/** One contestant in one setting; `null` while its learning rate is not known yet. */
export interface Cell {
  readonly task: Task
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
  readonly trainings: readonly Training[]
}

export function searchesOf(effort: Effort): readonly Search[] {
  const tuned = contestantsOf(effort).filter((one) => one.rateOf === undefined)
  return Object.values(tasksOf(effort)).flatMap((task) =>
    tuned.map((contestant) => ({
      task,
      contestant,
      trainings: GRID[effort].map((factor) => ({
        task,
        workers: 4,
        way: contestant.way(task),
        learningRate: factor * USUAL[task.name],
        seed: SEEDS[effort][0]!,
      })),
    })),
  )
}

/** @param rateOf  the best of a search; null: not known yet */
export function cellsOf(effort: Effort, rateOf: (search: Search) => number | null): Cell[] {
  const searches = searchesOf(effort)
  return Object.values(tasksOf(effort)).flatMap((task) =>
    contestantsOf(effort).flatMap((contestant) => {
      const wanted = contestant.rateOf ?? contestant.name
      const search = searches.find(
        (one) => one.task.name === task.name && one.contestant.name === wanted,
      )!
      const learningRate = rateOf(search)
      return contestant.workers.map((workers) => ({
        task,
        workers,
        contestant,
        learningRate,
        trainings:
          learningRate === null
            ? []
            : SEEDS[effort].map((seed) => ({
                task,
                workers,
                way: contestant.way(task),
                learningRate,
                seed,
              })),
      }))
    }),
  )
}
