// float32: the values themselves.
import { bytesOf } from '../../bytes.ts'
import { type ChunkViews, chunks } from '../chunks.ts'
import { accumulateChunks, fixedSize } from './fixed-size.ts'
import type { WireType } from './wire-type.ts'

export const f32: WireType<'f32'> = {
  name: 'f32',
  id: 0,
  ...fixedSize(4, 0x7f800000),
  encode(values, _segments, into) {
    into.set(bytesOf(values))
  },
  decode(bytes, count, into) {
    bytesOf(into).set(bytes.subarray(0, 4 * count))
  },
  accumulate: (summands) => accumulateChunks(4, summands, addOne, addFour),
}

/** Σ x² of float32 values at any alignment, in float64 and in a fixed order. */
export function sumOfSquares(bytes: Uint8Array): number {
  let sum = 0
  for (const { views, length } of chunks(bytes)) sum += squares(views.floats, length >> 2)
  return sum
}

function squares(floats: Float32Array, n: number): number {
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  let i = 0
  for (; i + 4 <= n; i += 4) {
    a += floats[i]! * floats[i]!
    b += floats[i + 1]! * floats[i + 1]!
    c += floats[i + 2]! * floats[i + 2]!
    d += floats[i + 3]! * floats[i + 3]!
  }
  for (; i < n; i++) a += floats[i]! * floats[i]!
  return a + c + (b + d)
}

function addOne(sums: Float64Array, n: number, { floats: x }: ChunkViews, weight: number): void {
  for (let i = 0; i < n; i += 4) {
    sums[i] = sums[i]! + x[i]! * weight
    sums[i + 1] = sums[i + 1]! + x[i + 1]! * weight
    sums[i + 2] = sums[i + 2]! + x[i + 2]! * weight
    sums[i + 3] = sums[i + 3]! + x[i + 3]! * weight
  }
}

function addFour(
  sums: Float64Array,
  n: number,
  { floats: a }: ChunkViews,
  { floats: b }: ChunkViews,
  { floats: c }: ChunkViews,
  { floats: d }: ChunkViews,
  weights: readonly number[],
): void {
  const [wa, wb, wc, wd] = weights as [number, number, number, number]
  for (let i = 0; i < n; i++) {
    sums[i] = sums[i]! + a[i]! * wa + b[i]! * wb + c[i]! * wc + d[i]! * wd
  }
}
