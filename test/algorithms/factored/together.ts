import { aggregate, type Compressor, type Gradient, type Outcome } from '../../../src/index.ts'
import { SHAPES } from './factors.ts'

/** One step of workers that lose nothing, as `stepTogether`, with gradients that may be factored. */
export async function together(
  workers: readonly Compressor[],
  gradients: readonly (readonly Gradient[] | null)[],
  weights: readonly number[] = workers.map(() => 1),
): Promise<{
  frames: Uint8Array[][]
  means: Uint8Array[]
  updates: Float32Array[][]
  outcomes: Outcome[]
}> {
  const [frames, means]: [Uint8Array[][], Uint8Array[]] = [[], []]
  let next: (Uint8Array | null)[] = await Promise.all(
    workers.map((worker, i) => worker.compress(gradients[i]!, { weight: weights[i]! })),
  )
  while (next.every((frame) => frame !== null)) {
    frames.push(next)
    const mean = aggregate(next)
    means.push(mean)
    next = await Promise.all(workers.map((worker) => worker.receive(mean)))
  }
  const updates = workers.map(() =>
    SHAPES.map((shape) => new Float32Array(shape.reduce((a: number, b) => a * b, 1))),
  )
  const outcomes = await Promise.all(workers.map((worker, i) => worker.decompress(updates[i]!)))
  return { frames, means, updates, outcomes }
}
