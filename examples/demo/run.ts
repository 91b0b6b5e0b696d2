// A training run and its results, whatever carries the frames.
import type { Done, Loss, Task } from './protocol.ts'

/** The held-out loss at one point of a run. */
export interface Measurement {
  readonly step: number
  /** by one worker, since the run began */
  readonly sentBytes: number
  /** nats per character */
  readonly loss: number
}

/**
 * The results of a run. Bytes are those of frames, without WebSocket's own headers; with MPI, those
 * of the floats that a worker gives to MPI_Allreduce and gets from it.
 */
export interface Run {
  readonly measurements: readonly Measurement[]
  /** by one worker in one step */
  readonly sentBytes: number
  readonly receivedBytes: number
  /** of the last step's parameters, one per worker: SHA-256 */
  readonly parameters: readonly string[]
  /** the largest distance of a worker's last parameters from worker 0's */
  readonly apart: number
  /** of one worker in one step: compress, receive, decompress */
  readonly compressionMs: number
  readonly gradientMs: number
  /** of the coordinator in one step; with MPI, of worker 0, waiting for the others included */
  readonly aggregationMs: number
  readonly seconds: number
}

/** Takes a run's progress. */
export interface Watcher {
  step(step: number): void
  measured(measurement: Measurement): void
}

/** Workers, ready to train. */
export interface Fleet {
  readonly processes: readonly number[]
  /** @throws Error  if a worker is lost: which, when, and how it ended */
  train(compressed: boolean, watcher: Watcher): Promise<Run>
  /** Ends the fleet, whether runs succeeded or not. */
  close(): Promise<void>
}

/** Settings that all workers share. */
export type Settings = Omit<Task, 'type' | 'worker' | 'symbols'>

/** Adds up a run's results while it goes on. */
export interface Tally {
  /** A round is over; bytes are one worker's. */
  exchanged(step: number, sentBytes: number, receivedBytes: number, aggregationMs: number): void
  /** @param losses  of all workers, after the same step */
  measured(losses: readonly Loss[]): void
  /**
   * @param done  of all workers, in their order
   * @param apart  their parameters' distances from worker 0's
   */
  finish(done: readonly Done[], apart: readonly number[]): Run
}

/** Begins a run, and its clock. */
export function createTally(steps: number, watcher: Watcher): Tally {
  const begun = performance.now()
  const measurements: Measurement[] = []
  const totals = { sentBytes: 0, receivedBytes: 0, aggregationMs: 0 }
  return {
    exchanged(step, sentBytes, receivedBytes, aggregationMs) {
      totals.sentBytes += sentBytes
      totals.receivedBytes += receivedBytes
      totals.aggregationMs += aggregationMs
      watcher.step(step)
    },
    measured(losses) {
      const measurement = {
        step: losses[0]!.step,
        sentBytes: totals.sentBytes,
        loss: total(losses, 'sum') / total(losses, 'characters'),
      }
      measurements.push(measurement)
      watcher.measured(measurement)
    },
    finish: (done, apart) => ({
      measurements,
      sentBytes: totals.sentBytes / steps,
      receivedBytes: totals.receivedBytes / steps,
      parameters: done.map(({ parameters }) => parameters),
      apart: Math.max(...apart),
      compressionMs: total(done, 'compressionMs') / done.length / steps,
      gradientMs: total(done, 'gradientMs') / done.length / steps,
      aggregationMs: totals.aggregationMs / steps,
      seconds: (performance.now() - begun) / 1000,
    }),
  }
}

/** ‖x − y‖ ÷ ‖y‖ */
export function distance(x: Float32Array, y: Float32Array): number {
  let difference = 0
  let size = 0
  for (const [i, value] of y.entries()) {
    difference += (x[i]! - value) ** 2
    size += value ** 2
  }
  return Math.sqrt(difference / size)
}

function total<K extends string>(
  items: readonly { readonly [key in K]: number }[],
  key: K,
): number {
  return items.reduce((sum, item) => sum + item[key], 0)
}
