// float32: the values themselves.
import { bytesOf } from '../../bytes.ts'
import { chunks } from '../chunks.ts'
import { type AddFour, type AddOne, accumulateChunks, fixedSize } from './fixed-size.ts'
import type { WireType } from './wire-type.ts'

export const f32: WireType<'f32'> = {
  name: 'f32',
  id: 0,
  ...fixedSize(4, 0x5f800000), // the bits of 2⁶⁴
  encode(values, _segments, into) {
    into.set(bytesOf(values))
  },
  decode(bytes, count, into) {
    bytesOf(into).set(bytes.subarray(0, 4 * count))
  },
  accumulate(summands) {
    if (summands.every(({ weight }) => weight >= LEAST_SCALED)) {
      const scaled = summands.map(({ values, weight }) => ({ values, weight: weight / UP }))
      return accumulateChunks(4, scaled, ...SCALED)
    }
    if (summands.every(({ values }) => f32.firstInvalid(values, values.length / 4) < 0)) {
      return accumulateChunks(4, summands, ...PLAIN)
    }
    return (sums) => {
      sums[0] = Number.NaN
    }
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

/** The loops of `accumulate`, which multiply values by `up` before the weight. */
function loops(up: number): [AddOne, AddFour] {
  return [
    (sums, n, { floats: x }, weight) => {
      for (let i = 0; i < n; i += 4) {
        sums[i] = sums[i]! + x[i]! * up * weight
        sums[i + 1] = sums[i + 1]! + x[i + 1]! * up * weight
        sums[i + 2] = sums[i + 2]! + x[i + 2]! * up * weight
        sums[i + 3] = sums[i + 3]! + x[i + 3]! * up * weight
      }
    },
    (sums, n, { floats: a }, { floats: b }, { floats: c }, { floats: d }, weights) => {
      const [wa, wb, wc, wd] = weights as [number, number, number, number]
      for (let i = 0; i < n; i++) {
        sums[i] = sums[i]! + a[i]! * up * wa + b[i]! * up * wb + c[i]! * up * wc + d[i]! * up * wd
      }
    },
  ]
}

/**
 * A value that is not below `LIMIT` becomes infinite when it is multiplied by this, and then shows
 * in the sum. The weights are divided by it, so that all bits of the sum stay. A pass of its own
 * over the values takes longer.
 */
const UP = 2 ** 960

/** From this weight on, its quotient by `UP` is exact: it has 53 bits, and is not subnormal. */
const LEAST_SCALED = 2 ** -62

const SCALED = loops(UP)
const PLAIN = loops(1)
