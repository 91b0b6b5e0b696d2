// Accordion in kind: ranks that follow the gradient, against fixed ones.
import { CIFAR, SHAKESPEARE } from '../data.ts'
import type { Done, Effort, Experiment } from '../experiment.ts'
import { SEEDS, searchesOf } from '../quality/contestants.ts'
import { bestRate, finder, lossOf } from '../quality/found.ts'
import { spreadOf } from '../spread.ts'
import { type Task, type Trained, type Training, train } from '../training.ts'
import { type Way, wordsOf } from '../ways.ts'
import { type Outcome, report } from './report.ts'

/** Windows in a training: the gradients of one are summed for a norm. */
const WINDOWS = 20
const WORKERS = 4

const CONTESTANTS: Record<string, (task: Task) => Way> = {
  uncompressed: () => ({ method: 'uncompressed' }),
  'rank 1': () => ({ rank: 1 }),
  'rank 2': () => ({ rank: 2 }),
  'rank 4': () => ({ rank: 4 }),
  '1 ↔ 2': (task) => between(1, 2, task),
  '1 ↔ 4': (task) => between(1, 4, task),
  '2 ↔ 4': (task) => between(2, 4, task),
}

/** Those of a quick or tiny run. */
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
    const searched = searches(effort).flatMap(({ trainings }) => trainings)
    const cells = cellsOf(effort, done).flatMap(({ trainings }) => trainings)
    const all = [...searched, ...cells]
    return [...new Map(all.map((training) => [JSON.stringify(training), training])).values()]
  },
  describe: ({ task, way, seed }) => `${task.name}, ${wordsOf(way)}, seed ${seed}`,
  execute: (run, { data }) => train(run, data),
  report(done, effort) {
    const find = finder(done)
    const outcomes = cellsOf(effort, done).map(({ task, name, trainings }) => {
      const trained = trainings.map((training) => find(training)!)
      return outcomeOf(task, name, trained)
    })
    return report(outcomes, WINDOWS)
  },
}

/** Learning rates are those of quality's uncompressed gradients, whose grid is shared. */
function searches(effort: Effort) {
  return searchesOf(effort).filter(({ contestant }) => contestant.name === 'uncompressed')
}

/** No trainings while the learning rate is not known. */
function cellsOf(effort: Effort, done: readonly Done<Training, Trained>[]) {
  const find = finder(done)
  const names = Object.keys(CONTESTANTS).filter((name) => effort === 'full' || FEW.includes(name))
  return searches(effort).flatMap((search) => {
    const { task } = search
    const learningRate = bestRate(search, find)
    const seeds = learningRate === null ? [] : SEEDS[effort]
    return names.map((name) => ({
      task,
      name,
      trainings: seeds.map((seed) => ({
        task,
        workers: WORKERS,
        way: CONTESTANTS[name]!(task),
        learningRate: learningRate!,
        seed,
      })),
    }))
  })
}

function outcomeOf(task: Task, name: string, trained: readonly Trained[]): Outcome {
  const losses = trained.map(lossOf)
  return {
    task,
    name,
    losses,
    loss: spreadOf(losses),
    accuracy: spreadOf(trained.map(({ last }) => last?.accuracy ?? 0)),
    sentBytes: spreadOf(trained.map(({ sentBytes }) => sentBytes)),
    meanRank: spreadOf(trained.map(({ meanRank }) => meanRank)).mean,
  }
}
