// Quality's pictures.
import { lines, scatter } from '../charts.ts'
import { bytes, count } from '../markdown.ts'
import { ABOUT } from '../tasks.ts'
import type { Task } from '../training.ts'
import type { Outcome } from './found.ts'

/** The curves in the picture over steps: more would hide each other. */
const CURVES = [
  ...['uncompressed', 'rank 1', 'rank 2', 'rank 4', 'rank 2, no feedback'],
  ...['top K', 'random K', 'half-steps, rank 2'],
]

/** Mean loss of the seeds at each glance at a part of the held-out data, with 4 workers. */
export function overSteps(task: Task, outcomes: readonly Outcome[]): string {
  const { title, loss } = ABOUT[task.name]
  const curves = CURVES.flatMap((name) => {
    const outcome = outcomes.find((one) => one.name === name && one.workers === 4)
    if (!outcome) return []
    const points = outcome.trained[0]!.curve.map(({ step }, i) => {
      const losses = outcome.trained.flatMap(({ curve }) => curve[i]?.loss ?? [])
      return { x: step, y: losses.reduce((sum, one) => sum + one, 0) / losses.length }
    })
    return [{ name, points }]
  })
  return lines(
    `${title}, ${count(task.steps)} steps, 4 workers: mean over seeds`,
    curves,
    { label: 'step' },
    { label: `${loss}, of a part of the data` },
  )
}

/**
 * Loss at the end against bytes.
 *
 * @param workers  shows the outcomes with this number of workers
 */
export function againstBytes(task: Task, outcomes: readonly Outcome[], workers: number): string {
  const { title, loss } = ABOUT[task.name]
  return scatter(
    `${title}, ${workers} workers: bars over seeds`,
    outcomes
      .filter((outcome) => outcome.workers === workers)
      .map(({ name, sentBytes, loss: { mean, least, most } }) => ({
        ...{ name, x: sentBytes, y: mean, least, most },
        group: familyOf(name),
      })),
    FAMILIES,
    { label: 'bytes that a worker sends in a step (log scale)', log: true, tickFormat: bytes },
    { label: loss },
  )
}

const FAMILIES = ['PowerSGD', 'others']

function familyOf(name: string): number {
  return /^(rank|half-steps)/.test(name) ? 0 : 1
}
