// Workers that train one model: helpers to make them, take steps with them, and read their
// residuals.
import {
  aggregate,
  type Compressor,
  createCompressor,
  type Gradient,
  type Options,
  type Outcome,
  type ParameterSpec,
} from '../../src/index.ts'
import { lengthOf } from './numbers.ts'
import { readState } from './safetensors.ts'

/**
 * Creates workers with senders 0, 1, …
 *
 * @param workers  how many, or one entry per worker with its own options
 * @param options  of all workers
 */
export function createFleet(
  shapes: readonly ParameterSpec[],
  workers: number | readonly Options[],
  options: Options = {},
): Promise<Compressor[]> {
  const own = typeof workers === 'number' ? new Array<Options>(workers).fill({}) : workers
  return Promise.all(
    own.map((one, sender) => createCompressor(shapes, { ...options, sender, ...one })),
  )
}

/** By worker, then by parameter; null: the worker has no gradient. */
export type Gradients = readonly (readonly (Gradient | null)[] | null)[]

export interface Delivery {
  /** Whether the frame of a worker is in the mean of this round. All workers receive every mean. */
  readonly arrives?: (worker: number, round: number) => boolean
  /**
   * How many means to make. With fewer than the step's rounds, the step stays open, and no mean has
   * the last frames.
   */
  readonly rounds?: number
}

/** All frames and means of one step. */
export interface Exchanged {
  /** by round, then by worker, also frames that do not arrive */
  readonly frames: Uint8Array[][]
  /** by round */
  readonly means: Uint8Array[]
}

/** Takes the rounds of one step, up to `decompress`. */
export async function exchange(
  workers: readonly Compressor[],
  gradients: Gradients,
  weights: readonly number[] = workers.map(() => 1),
  { arrives = () => true, rounds = Infinity }: Delivery = {},
): Promise<Exchanged> {
  const frames: Uint8Array[][] = []
  const means: Uint8Array[] = []
  let next: (Uint8Array | null)[] = await Promise.all(
    workers.map((worker, w) => worker.compress(gradients[w]!, { weight: weights[w]! })),
  )
  while (next.every((frame) => frame !== null)) {
    frames.push(next)
    if (means.length === rounds) break
    const mean = aggregate(next.filter((_, w) => arrives(w, means.length)))
    means.push(mean)
    next = await Promise.all(workers.map((worker) => worker.receive(mean)))
  }
  return { frames, means }
}

/** One whole step. */
export interface Step extends Exchanged {
  /** by worker, then by parameter */
  readonly updates: Float32Array[][]
  /** by worker */
  readonly outcomes: Outcome[]
}

/**
 * Takes all rounds of one step, and calls `decompress` of each worker.
 *
 * @param shapes  needed if no worker has a gradient, or a gradient is factored
 */
export async function stepTogether(
  workers: readonly Compressor[],
  gradients: Gradients,
  weights?: readonly number[],
  { shapes, ...delivery }: Delivery & { shapes?: readonly (readonly number[])[] } = {},
): Promise<Step> {
  const lengths =
    shapes?.map(lengthOf) ??
    gradients.find((one) => one !== null)!.map((array) => (array as Float32Array).length)
  const exchanged = await exchange(workers, gradients, weights, delivery)
  const updates = workers.map(() => lengths.map((length) => new Float32Array(length)))
  const outcomes = await Promise.all(workers.map((worker, w) => worker.decompress(updates[w]!)))
  return { ...exchanged, updates, outcomes }
}

/** A worker's residual, one array per parameter. */
export async function residualsOf(worker: Compressor): Promise<Float32Array[]> {
  const { tensors } = readState(await worker.save())
  return worker.stats.ranks.map((_, i) => tensors.get(`residual/${i}`)!.data)
}
