// Results of trainings, found by their descriptions.
import type { Done } from '../experiment.ts'
import type { Spread } from '../spread.ts'
import type { Task, Trained, Training } from '../training.ts'

export type Find = (training: Training) => Trained | undefined

export function finder(done: readonly Done<Training, Trained>[]): Find {
  const found = new Map(done.map(({ run, result }) => [JSON.stringify(run), result]))
  return (training) => found.get(JSON.stringify(training))
}

/** The loss on all held-out data at the end; Infinity: training diverged. */
export function lossOf({ last }: Trained): number {
  return last?.loss ?? Number.POSITIVE_INFINITY
}

/** The training with the least loss; null unless all are done. */
export function bestOf(trainings: readonly Training[], find: Find): Training | null {
  const found = trainings.map(find)
  if (found.includes(undefined)) return null
  const losses = found.map((trained) => lossOf(trained!))
  return trainings[losses.indexOf(Math.min(...losses))]!
}

/** A contestant in a setting, with the results of its seeds. */
export interface Outcome {
  readonly task: Task
  /** with more steps than usual */
  readonly longer: boolean
  readonly workers: number
  readonly name: string
  readonly learningRate: number
  readonly trained: readonly Trained[]
  readonly losses: readonly number[]
  readonly loss: Spread
  readonly accuracy: Spread
  /** sent by one worker in a step */
  readonly sentBytes: number
  readonly receivedBytes: number
}
