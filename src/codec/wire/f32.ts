// float32: the values themselves.
import { bytesOf } from '../../bytes.ts'
import { chunks } from '../chunks.ts'
import { fixedSize } from './fixed-size.ts'
import { LIMIT, type WireType } from './wire-type.ts'

export const f32: WireType<'f32'> = {
  name: 'f32',
  id: 0,
  ...fixedSize(0, 4, 0x5f800000, (sums, n, { floats }, weight) => {
    for (let i = 0; i < n; i++) {
      const x = floats[i]!
      sums[i] = sums[i]! + (Math.abs(x) < LIMIT ? x : Number.NaN) * weight
    }
  }),
  encode(values, _segments, into) {
    into.set(bytesOf(values))
  },
  decode(bytes, count, into) {
    bytesOf(into).set(bytes.subarray(0, 4 * count))
  },
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
