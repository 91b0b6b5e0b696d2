// Golden hashes of the bytes of frames and means, and of the results of given means. These have
// equal bits, whatever kernels a worker has for its own products. Like golden.ts, for every engine.

import type { Backend } from '../../src/backend.ts'
import type {
  createAggregate,
  fromPayload,
  joinSlices,
  payload,
  splitFrame,
} from '../../src/frames.ts'
import { bytesOf, digest, type Lowrank, type Sha256, source } from './golden.ts'

/** The exports of the door `lowrank/frames` that are used here. */
export interface Frames {
  readonly createAggregate: typeof createAggregate
  readonly splitFrame: typeof splitFrame
  readonly joinSlices: typeof joinSlices
  readonly payload: typeof payload
  readonly fromPayload: typeof fromPayload
}

const MATRICES = [[24, 10], [10], [5, 3, 3, 3], [9, 40]] as const
const VECTORS = [[67], [3], [130]] as const
/** The wire types of two fleets: float32 alone, whose bytes never change, and one of each. */
export const WIRES = {
  f32: ['f32', 'f32', 'f32', 'f32'],
  mixed: ['f32', 'f16', 'bf16', 'int8'],
} as const

/**
 * Takes three steps of a worker whose means have seeded values, and nothing of its own products.
 *
 * @param own  the worker's own options, which must not matter
 * @returns the hash of the means, of parameters that take the updates, and of the state: P̂ and Q̂,
 *   replaced columns among them
 */
export async function goldenUpdate(
  { createCompressor }: Lowrank,
  { payload, fromPayload }: Frames,
  sha256: Sha256 = digest,
  own: { backend?: Backend } = {},
): Promise<string> {
  const options = { rank: 4, minCompressionRate: 0, seed: 3, ...own }
  const worker = await createCompressor(MATRICES, options)
  const next = source(5)
  const drawn = () => MATRICES.map((shape) => floats(shape, next))
  const parameters = drawn()
  const hashed: Uint8Array[] = []
  for (let step = 0; step < 3; step++) {
    let frame: Uint8Array | null = await worker.compress(drawn(), { weight: 1 })
    while (frame) {
      const sum = payload(frame) // two control words follow the values
      for (let i = 0; i < sum.length - 2; i++) sum[i] = next()
      if (step > 0) sum.copyWithin(24, 0, 24) // the first P's second column equals its first
      const mean = fromPayload(sum, frame, 1)
      hashed.push(mean)
      frame = await worker.receive(mean)
    }
    await worker.decompress(parameters, { scale: -0.1, accumulate: true })
    hashed.push(bytesOf(parameters))
  }
  hashed.push(await worker.save({ residual: false }))
  return sha256(joined(hashed))
}

/**
 * Takes two steps of four workers that send raw tensors. Frames are aggregated at once, one by one,
 * and in slices.
 *
 * @param wires  the workers' wire types
 * @returns the hash of frames, means and updates, and of the states, which hold what the wires lost
 */
export async function goldenFrames(
  { createCompressor, aggregate }: Lowrank,
  { createAggregate, splitFrame, joinSlices }: Frames,
  wires: (typeof WIRES)[keyof typeof WIRES],
  sha256: Sha256 = digest,
): Promise<string> {
  const create = (sender: number, restore?: Uint8Array) =>
    createCompressor(VECTORS, { sender, wire: wires[sender]!, ...(restore && { restore }) })
  let fleet = await Promise.all(wires.map((_, sender) => create(sender)))
  const next = source(6)
  const hashed: Uint8Array[] = []
  for (let step = 0; step < 2; step++) {
    const frames = await Promise.all(
      fleet.map((worker, sender) =>
        worker.compress(
          VECTORS.map((shape) => hard(floats(shape, next))),
          { weight: sender + 0.5 },
        ),
      ),
    )
    const mean = aggregate(frames)
    const one = createAggregate()
    for (const frame of frames) one.add(frame)
    const whole = frames.map((frame) => joinSlices(splitFrame(frame, 400).reverse()))
    hashed.push(...frames, mean, one.result(), ...splitFrame(mean, 160), aggregate(whole))

    const updates = VECTORS.map((shape) => floats(shape, () => 0))
    for (const worker of fleet) {
      await worker.receive(mean)
      await worker.decompress(updates, { scale: 1, accumulate: false })
    }
    const states = await Promise.all(fleet.map((worker) => worker.save()))
    hashed.push(bytesOf(updates), ...states)
    fleet = await Promise.all(states.map((state, sender) => create(sender, state)))
  }
  return sha256(joined(hashed))
}

function floats(shape: readonly number[], next: () => number): Float32Array {
  return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, next)
}

/**
 * Numbers from 2⁻³² to 2²⁰, a wider range than that of float16. Every third lies halfway between two
 * numbers of f16, and every third between two of bf16.
 */
function hard(values: Float32Array): Float32Array {
  const bits = new Uint32Array(values.buffer)
  for (let i = 0; i < bits.length; i++) {
    const exponent = 95 + ((i * 7) % 52)
    let mantissa = bits[i]! & 0x7fffff
    if (i % 3 === 0) mantissa = (mantissa & ~0x1fff) | 0x1000
    if (i % 3 === 1) mantissa = (mantissa & ~0xffff) | 0x8000
    bits[i] = (bits[i]! & 0x80000000) | (exponent << 23) | mantissa
  }
  return values
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
