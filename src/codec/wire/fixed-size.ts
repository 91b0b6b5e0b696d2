// The common part of wire types whose values have two or four bytes each.
import { CHUNK_VALUES, chunks, createChunk } from '../chunks.ts'
import type { Summand, WireType } from './wire-type.ts'

/**
 * The fields of a wire type that follow from the size of a value.
 *
 * @param size  bytes of a value
 * @param exponent  the exponent bits of a value, which are all set if it is not finite
 */
export function fixedSize(size: 2 | 4, exponent: number) {
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
      // Adding `carry` to the masked bits sets the sign bit exactly if the value is not valid. To
      // find a full exponent, it adds 1 to it. To find a bit other than the sign, it adds all those
      // bits.
      const sign = 2 ** (8 * size - 1)
      const mask = zero ? sign - 1 : exponent
      const carry = zero ? mask : mask & -mask
      const both = size === 2 ? 0x10001 : 1 // a word has two values; no carry crosses them
      for (const { views, length, from } of chunks(bytes.subarray(0, leastLength(count)))) {
        // After the last value the buffer has zeros, or values of an earlier chunk, which are
        // valid.
        const bits = carries(views.words, (length + 3) >> 2, mask * both, carry * both)
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
  } satisfies Partial<WireType>
}

/**
 * A reader of values of `size` bytes. Each call of `next(n)` copies the next n values to the buffer
 * behind `views`.
 */
export function reader(size: 2 | 4) {
  return ({ values }: Summand) => {
    const views = createChunk(size * CHUNK_VALUES)
    let at = 0
    const next = (n: number) => {
      views.bytes.set(values.subarray(at, at + size * n))
      at += size * n
    }
    return { views, next }
  }
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
