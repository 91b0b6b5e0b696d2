// Accordion in kind: ranks that follow the gradient, against fixed ones.
import { CIFAR, SHAKESPEARE } from '../data.ts'
import type { Done, Effort, Experiment } from '../experiment.ts'
import { SEEDS, type Search, searchesOf } from '../quality/contestants.ts'
import { bestOf, type Find, finder, lossOf } from '../quality/found.ts'
import { spreadOf } from '../spread.ts'
import { type Task, type Trained, type Training, train } from '../training.ts'
import { type Way, wordsOf } from '../ways.ts'
import { type Outcome, report } from './report.ts'

/** Windows in a training. Accordion takes the norm of the sum of a window's gradients. */
const WINDOWS = 20
const WORKERS = 4
const RATES_OF = ['uncompressed', 'rank 4']

const CONTESTANTS: Record<string, (task: Task) => Way> = {
  uncompressed: () => ({ method: 'uncompressed' }),
  'rank 1': () => ({ rank: 1 }),
  'rank 2': () => ({ rank: 2 }),
  'rank 4': () => ({ rank: 4 }),
  '1 ↔ 2': (task) => between(1, 2, task),
  '1 ↔ 4': (task) => between(1, 4, task),
  '2 ↔ 4': (task) => between(2, 4, task),
}

/** The contestants of a quick or tiny run. */
const FEW = ['rank 1', 'rank 4', '1 ↔ 4']

function between(low: number, high: number, { steps }: Task): Way {
  return { method: 'accordion', low, rank: high, window: Math.max(1, Math.round(steps / WINDOWS)) }
}

export const accordion: Experiment<Training, Trained> = {
  name: 'accordion',
  kind: 'training',
  title: 'Accordion: ranks that follow the gradient',
  files: [...SHAKESPEARE, ...CIFAR],
  runs(effort, done) {
    const searched = searches(effort, finder(done)).flatMap(({ trainings }) => trainings)
    const cells = cellsOf(effort, done).flatMap(({ trainings }) => trainings)
    const all = [...searched, ...cells]
    return [...new Map(all.map((training) => [JSON.stringify(training), training])).values()]
  },
  describe: ({ task, way, learningRate, seed }) =>
    `${task.name}, ${wordsOf(way)}, rate ${learningRate}, seed ${seed}`,
  execute: (run, { data }) => train(run, data),
  report(done, effort) {
    const find = finder(done)
    const outcomes = cellsOf(effort, done).map((cell) => {
      const trained = cell.trainings.map((training) => find(training)!)
      return outcomeOf(cell, trained)
    })
    return report(outcomes, WINDOWS)
  },
}

/**
 * The searches that this experiment shares with quality: for the rate of the uncompressed run,
 * which is the paper's way, and for that of rank 4, the high rank.
 */
function searches(effort: Effort, find: Find): readonly Search[] {
  return searchesOf(effort, find).filter(({ contestant }) => RATES_OF.includes(contestant.name))
}

/** One contestant with one learning rate. */
interface Cell {
  readonly task: Task
  readonly learningRate: number
  readonly name: string
  /** one a seed */
  readonly trainings: readonly Training[]
}

/** The cells whose learning rates are known. */
function cellsOf(effort: Effort, done: readonly Done<Training, Trained>[]): Cell[] {
  const find = finder(done)
  const rates = new Map<Task['name'], { task: Task; rates: Set<number> }>()
  for (const search of searches(effort, find)) {
    const { task, trainings } = search
    const rate = bestOf(trainings, find)?.learningRate ?? null
    const known = rates.get(task.name) ?? { task, rates: new Set() }
    if (rate !== null) known.rates.add(rate)
    rates.set(task.name, known)
  }
  const names = Object.keys(CONTESTANTS).filter((name) => effort === 'full' || FEW.includes(name))
  return [...rates.values()].flatMap(({ task, rates }) =>
    [...rates].flatMap((learningRate) =>
      names.map((name) => {
        const way = CONTESTANTS[name]!(task)
        const training = { task, workers: WORKERS, way, learningRate }
        const trainings = SEEDS[effort].map((seed) => ({ ...training, seed }))
        return { task, learningRate, name, trainings }
      }),
    ),
  )
}

function outcomeOf({ task, learningRate, name }: Cell, trained: readonly Trained[]): Outcome {
  const losses = trained.map(lossOf)
  return {
    task,
    learningRate,
    name,
    losses,
    loss: spreadOf(losses),
    accuracy: spreadOf(trained.map(({ last }) => last?.accuracy ?? 0)),
    sentBytes: spreadOf(trained.map(({ sentBytes }) => sentBytes)),
    meanRank: spreadOf(trained.map(({ meanRank }) => meanRank)).mean,
  }
}
