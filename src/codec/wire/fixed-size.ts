// The common part of wire types whose values have two or four bytes each.
import { chunks } from '../chunks.ts'
import { type ChunkViews, room } from '../loops.ts'
import type { WireType } from './wire-type.ts'

/**
 * The fields of a wire type that follow from the size of a value.
 *
 * @param id  of the type
 * @param size  bytes of a value
 * @param limit  the bits of the least value ≥ 0 that is not valid
 * @param add  sums ← sums + weight · the first n values of a chunk, in JavaScript; infinite or NaN
 *   for those that are not valid
 */
export function fixedSize(
  id: number,
  size: 2 | 4,
  limit: number,
  add: (sums: Float64Array, n: number, values: ChunkViews, weight: number) => void,
) {
  const leastLength = (count: number) => size * count
  return {
    leastLength,
    fixedLength: true,
    encodedLength: (segments) => leastLength(segments.reduce((sum, length) => sum + length, 0)),
    lengthIn(bytes, count) {
      const length = leastLength(count)
      return length <= bytes.length ? length : -1 - bytes.length
    },
    firstInvalid(bytes, count, zero = false) {
      // Without the sign, bits are in the order of the magnitudes. Adding `carry` to them sets the
      // sign bit exactly if the value is not valid.
      const sign = 2 ** (8 * size - 1)
      const mask = sign - 1
      const carry = sign - (zero ? 1 : limit)
      const both = size === 2 ? 0x10001 : 1 // a word has two values; no carry crosses them
      for (const { views, length, from } of chunks(bytes.subarray(0, leastLength(count)))) {
        const n = Math.ceil(length / 4)
        const { loops } = room()
        views.bytes.fill(0, length, 16 * Math.ceil(n / 4))
        const bits = loops
          ? loops.carries(views.at, n, mask * both, carry * both)
          : carries(views.words, n, mask * both, carry * both)
        if ((bits & (sign * both)) === 0) continue
        const values = size === 2 ? views.halves : views.words
        return from + size * values.findIndex((value) => (((value & mask) + carry) & sign) !== 0)
      }
      return -1
    },
    pieceAt(_bytes, _at, left, room) {
      const count = Math.min(left, Math.floor(room / size))
      return { count, length: leastLength(count) }
    },
    accumulate(values, weight) {
      const { loops, x, sums } = room()
      let at = 0
      return (n) => {
        x.bytes.set(values.subarray(at, at + size * n))
        at += size * n
        if (loops) loops.add(id, sums.byteOffset, x.at, n, 1, weight)
        else add(sums, n, x, weight)
      }
    },
  } satisfies Partial<WireType>
}

/** The bitwise or of (word & mask) + carry over n words, rounded up to a multiple of 4. */
function carries(words: Int32Array, n: number, mask: number, carry: number): number {
  let bits = 0
  for (let i = 0; i < n; i += 4) {
    bits |=
      ((words[i]! & mask) + carry) |
      ((words[i + 1]! & mask) + carry) |
      ((words[i + 2]! & mask) + carry) |
      ((words[i + 3]! & mask) + carry)
  }
  return bits
}
