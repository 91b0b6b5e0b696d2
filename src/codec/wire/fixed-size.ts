// What wire types have in common whose values have two or four bytes each.
import { CHUNK_VALUES, chunks, createChunk } from '../chunks.ts'
import type { Summand, WireType } from './wire-type.ts'

/**
 * The part of a record that follows from the size of a value.
 *
 * @param size  bytes of a value: 2 or 4
 * @param exponent  the bits of a value that are all set if it is not finite
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
      // A full exponent + 1 carries into the sign, and so does any bit but the sign + the same ones.
      const sign = 2 ** (8 * size - 1)
      const mask = zero ? sign - 1 : exponent
      const carry = zero ? mask : mask & -mask
      const both = size === 2 ? 0x10001 : 1 // two values to a word, and no carry from one to the other
      for (const { views, length, from } of chunks(bytes.subarray(0, leastLength(count)))) {
        // Behind the last value lie zeros, or values that have been looked at.
        const any = carries(views.words, (length + 3) >> 2, mask * both, carry * both)
        if ((any & (sign * both)) === 0) continue
        const values = size === 2 ? views.halves : views.words
        return from + size * values.findIndex((bits) => (((bits & mask) + carry) & sign) !== 0)
      }
      return -1
    },
    pieceAt(_bytes, _at, left, room) {
      const count = Math.min(left, Math.floor(room / size))
      return { count, length: leastLength(count) }
    },
  } satisfies Partial<WireType>
}

/** Copies the next n values, so many bytes each, to where they are fast to read. */
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

/** All bits that any (word & mask) + carry has, in n words and up to three more. */
function carries(words: Int32Array, n: number, mask: number, carry: number): number {
  let any = 0
  for (let i = 0; i < n; i += 4) {
    any |=
      ((words[i]! & mask) + carry) |
      ((words[i + 1]! & mask) + carry) |
      ((words[i + 2]! & mask) + carry) |
      ((words[i + 3]! & mask) + carry)
  }
  return any
}
