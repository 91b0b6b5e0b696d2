// Tables 1 to 4 of the paper in kind: the effect of compression on training, beside the bytes that
// it sends.
import { CIFAR, SHAKESPEARE } from '../data.ts'
import type { Experiment } from '../experiment.ts'
import { type Trained, type Training, train } from '../training.ts'
import { wordsOf } from '../ways.ts'
import { cellsOf, searchesOf } from './contestants.ts'
import { finder } from './found.ts'
import { report } from './report.ts'

export const quality: Experiment<Training, Trained> = {
  name: 'quality',
  kind: 'training',
  title: 'Quality: what compression does to training',
  files: [...SHAKESPEARE, ...CIFAR],
  runs(effort, done) {
    const find = finder(done)
    const all = [...searchesOf(effort, find), ...cellsOf(effort, find)].flatMap(
      ({ trainings }) => trainings,
    )
    // The best training of a grid, on the first seed, is also a training of a cell.
    return [...new Map(all.map((training) => [JSON.stringify(training), training])).values()]
  },
  describe: ({ task, workers, way, learningRate, seed }) =>
    `${task.name}, ${task.steps} steps, ${workers} workers, ${wordsOf(way)}, rate ${learningRate}, seed ${seed}`,
  execute: (run, { data }) => train(run, data),
  report(done, effort) {
    const find = finder(done)
    return report(searchesOf(effort, find), cellsOf(effort, find), find)
  },
}
