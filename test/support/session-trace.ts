// Takes one worker through every call of a session, and traces all its frames, updates and states.
// The trace may depend neither on where arrays lie nor on the number of threads.
import { bytesOf } from '../../src/bytes.ts'
import { type Compressor, createCompressor, type Options } from '../../src/index.ts'
import { sameBytes, sameFloats } from './close.ts'
import { exchange } from './fleet.ts'
import { uniform } from './numbers.ts'

/** Wider than a tile of 2¹⁵ floats, longer than one, narrow, raw, and many blocks in one tile. */
export const SHAPES = [[6, 40_000], [9], [300, 7, 5, 5], [50_000], [11, 6], [2, 3], [700, 150]]

/** Where a step's gradients and its update are. */
export type Arrays = 'foreign' | 'resident' | 'mixed'

export interface Trace {
  readonly frames: Uint8Array[]
  /** updates, and residuals in between */
  readonly floats: Float32Array[]
}

const lengths = SHAPES.map((shape) => shape.reduce((a, b) => a * b, 1))
const most = uniform(2 * Math.max(...lengths), 1)

/** @param own  the worker's own options, which may not change the trace */
export async function traceOf(own: Options, arrays: Arrays, shared: Options = {}): Promise<Trace> {
  const options = { rank: 3, minCompressionRate: 0, startCompressingAfter: 1, ...shared, ...own }
  using worker = await createCompressor(SHAPES, { ...options, resident: arrays !== 'foreign' })
  const done: Trace = { frames: [], floats: [] }

  const follow = async (gradients: readonly Float32Array[]) => {
    done.frames.push(...(await exchange([worker], [gradients])).frames.flat())
  }
  const keep = async (floats: readonly Float32Array[]) => {
    done.floats.push(...floats.map((one) => one.slice()))
    const state = await worker.save()
    done.floats.push(new Float32Array(state.slice(state.length % 4).buffer))
  }
  for (let step = 0; step < 3; step++) {
    const gradients = filled(worker, arrays, step)
    await follow(gradients)
    await worker.decompress(gradients) // in place
    await keep(gradients)
  }
  // A step without a gradient, whose update is added to the output.
  const parameters = filled(worker, arrays, 3)
  await follow(filled(worker, 'foreign', 4))
  await worker.decompress(parameters, { scale: -0.25, accumulate: true })
  await keep(parameters)
  // Numbers that are not finite: in a raw parameter, in the last parameter, in two.
  for (const bad of [[3], [6], [0, 2]]) {
    const gradients = filled(worker, arrays, 5)
    for (const i of bad) gradients[i]![Math.floor(0.7 * lengths[i]!)] = Number.NaN
    await follow(gradients)
    await worker.decompress(null)
    await keep(gradients)
  }
  // An aborted step; then other ranks, for which the memory grows.
  await worker.compress(filled(worker, arrays, 6))
  worker.abort()
  worker.setRank(6)
  const gradients = filled(worker, arrays, 7)
  await follow(gradients)
  await worker.decompress(gradients, { scale: 0.5 })
  await keep(gradients)
  // The update is discarded.
  await exchange([worker], [filled(worker, arrays, 8)])
  await worker.decompress(null)
  await keep([])
  return done
}

/** Arrays of the wanted kind with seeded numbers. */
function filled(worker: Compressor, arrays: Arrays, seed: number): Float32Array[] {
  return lengths.map((length, i) => {
    const resident = arrays === 'resident' || (arrays === 'mixed' && i % 2 === 0)
    const array = resident ? worker.gradients[i]! : new Float32Array(length)
    const from = 1009 * seed + 13 * i
    array.set(most.subarray(from, from + length))
    return array
  })
}

/** Fails at the first bit that differs. */
export function sameTrace(got: Trace, want: Trace, what: string): void {
  if (got.frames.length !== want.frames.length) throw new Error(`${what}: other rounds`)
  for (const [i, frame] of want.frames.entries()) {
    sameBytes(got.frames[i]!, frame, `${what}, frame ${i}`)
  }
  if (got.floats.length !== want.floats.length) throw new Error(`${what}: other arrays`)
  for (const [i, floats] of want.floats.entries()) {
    if (Buffer.compare(bytesOf(got.floats[i]!), bytesOf(floats)) === 0) continue
    sameFloats(got.floats[i]!, floats, `${what}, array ${i}`)
  }
}
