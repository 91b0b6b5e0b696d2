// What tests of several workers share: seeded numbers, whole steps, and a look into states.

import * as assert from 'uvu/assert'
import { decodeFrame, type Frame } from '../../src/codec/frame.ts'
import { wireType } from '../../src/codec/wire/index.ts'
import { aggregate, type Compressor, type Outcome } from '../../src/index.ts'

/** Half the distance from 1 to the next float32: one rounding errs by at most this part. */
export const UNIT = 2 ** -24

/** What rounding in the range of float32's subnormals errs by, at most. */
export const SMALLEST = 2 ** -149

/** Uniform numbers in (−1, 1) from a seed: mulberry32. */
export function numbers(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return (((x ^ (x >>> 14)) >>> 0) + 0.5) / 2 ** 31 - 1
  }
}

/** So many of them as float32. */
export function uniform(length: number, seed: number, scale = 1): Float32Array {
  const next = numbers(seed)
  return Float32Array.from({ length }, () => scale * next())
}

/** One array per shape. */
export function gradientsOf(
  shapes: readonly (readonly number[])[],
  seed: number,
  scale = 1,
): Float32Array[] {
  return shapes.map((shape, i) =>
    uniform(
      shape.reduce((a, b) => a * b, 1),
      1000 * seed + i,
      scale,
    ),
  )
}

/** A frame that has been read: its header, and its values as float32. */
export interface Opened extends Frame {
  readonly floats: Float32Array
}

export function open(bytes: Uint8Array): Opened {
  const frame = decodeFrame(bytes)
  const floats = new Float32Array(frame.count)
  wireType(frame.type).decode(frame.values, frame.count, floats)
  return { ...frame, floats }
}

/** Everything that went over the wire in one step, and what came of it. */
export interface Exchanged {
  /** by round, then by worker */
  readonly frames: Uint8Array[][]
  readonly means: Uint8Array[]
  readonly updates: Float32Array[][]
  readonly outcomes: Outcome[]
}

/** One step of workers that lose nothing: every frame arrives, every mean too. */
export async function stepTogether(
  workers: readonly Compressor[],
  gradients: readonly (readonly Float32Array[] | null)[],
  weights: readonly number[] = workers.map(() => 1),
): Promise<Exchanged> {
  const frames: Uint8Array[][] = []
  const means: Uint8Array[] = []
  let next: (Uint8Array | null)[] = await Promise.all(
    workers.map((worker, i) => worker.compress(gradients[i]!, { weight: weights[i]! })),
  )
  while (next.every((frame) => frame !== null)) {
    frames.push(next)
    const mean = aggregate(next)
    means.push(mean)
    next = await Promise.all(workers.map((worker) => worker.receive(mean)))
  }
  const like = gradients.find((arrays) => arrays !== null)!
  const updates = workers.map(() => like.map(({ length }) => new Float32Array(length)))
  const outcomes = await Promise.all(workers.map((worker, i) => worker.decompress(updates[i]!)))
  return { frames, means, updates, outcomes }
}

/** Goes through a step of a lone worker until its last mean is there: then `decompress`. */
export async function throughRounds(
  worker: Compressor,
  gradients: readonly Float32Array[] | null,
): Promise<void> {
  let frame: Uint8Array | null = await worker.compress(gradients)
  while (frame) frame = await worker.receive(aggregate([frame]))
}

/** The error that a call throws or rejects with. */
export async function errorOf(call: () => unknown, what = ''): Promise<Error> {
  try {
    await call()
  } catch (error) {
    return error as Error
  }
  throw new Error(`nothing was thrown: ${what}`)
}

/** A safetensors file, read by a parser that has nothing in common with the library's. */
export interface Saved {
  readonly metadata: Readonly<Record<string, string>>
  readonly tensors: ReadonlyMap<string, { readonly shape: number[]; readonly data: Float32Array }>
}

export function readState(bytes: Uint8Array): Saved {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true))
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)))
  const { __metadata__: metadata = {}, ...rest } = header
  const tensors = new Map<string, { shape: number[]; data: Float32Array }>()
  for (const [name, entry] of Object.entries(rest)) {
    const { dtype, shape, data_offsets } = entry as {
      dtype: string
      shape: number[]
      data_offsets: [number, number]
    }
    if (dtype === 'U8') continue // of recordings alone, and no test reads them
    assert.ok(['F32', 'I32'].includes(dtype), `${name}: ${dtype}`)
    const [from, to] = data_offsets.map((at) => at + 8 + length)
    tensors.set(name, { shape, data: new Float32Array(bytes.slice(from, to).buffer) })
  }
  return { metadata, tensors }
}

/** Writes one, in the same independent way; without metadata unless some is given. */
export function writeState(
  tensors: Readonly<Record<string, { shape: number[]; data: Float32Array }>>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array {
  const header: Record<string, unknown> = metadata ? { __metadata__: metadata } : {}
  let at = 0
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + data.byteLength] }
    at += data.byteLength
  }
  let text = JSON.stringify(header)
  text += ' '.repeat((8 - (text.length % 8)) % 8)
  const bytes = new Uint8Array(8 + text.length + at)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true)
  bytes.set(new TextEncoder().encode(text), 8)
  at = 8 + text.length
  for (const { data } of Object.values(tensors)) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at)
    at += data.byteLength
  }
  return bytes
}

/** A worker's residual, one array per parameter. */
export async function residualsOf(worker: Compressor): Promise<Float32Array[]> {
  const { tensors } = readState(await worker.save())
  const count = worker.stats.ranks.length
  return Array.from({ length: count }, (_, i) => tensors.get(`residual/${i}`)!.data)
}

/** Fails with the first index at which two arrays have other bits. */
export function sameFloats(got: Float32Array, want: Float32Array, what: string): void {
  const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length)
  const [a, b] = [bits(got), bits(want)]
  const at = a.findIndex((word, i) => word !== b[i])
  if (got.length !== want.length) assert.unreachable(`${what}: ${got.length} ≠ ${want.length}`)
  if (at >= 0) assert.unreachable(`${what}: [${at}]: got ${got[at]}, expected ${want[at]}`)
}

/** The same for bytes. */
export function sameBytes(got: Uint8Array, want: Uint8Array, what: string): void {
  const at = got.findIndex((byte, i) => byte !== want[i])
  if (got.length !== want.length)
    assert.unreachable(`${what}: ${got.length} ≠ ${want.length} bytes`)
  if (at >= 0) assert.unreachable(`${what}: byte ${at}: got ${got[at]}, expected ${want[at]}`)
}

/** Fails with the first index at which |got − want| exceeds its bound (or is no number). */
export function within(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  bound: (i: number) => number,
  what: string,
): void {
  if (got.length !== want.length) assert.unreachable(`${what}: ${got.length} ≠ ${want.length}`)
  for (let i = 0; i < got.length; i++) {
    if (Math.abs(got[i]! - want[i]!) <= bound(i)) continue
    assert.unreachable(`${what}: [${i}]: got ${got[i]}, expected ${want[i]} ± ${bound(i)}`)
  }
}
