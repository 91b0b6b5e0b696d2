// The common part of wire types whose values have two or four bytes each.
import { CHUNK_VALUES, type ChunkViews, chunks, createChunk } from '../chunks.ts'
import type { Accumulator, Summand, WireType } from './wire-type.ts'

/**
 * The fields of a wire type that follow from the size of a value.
 *
 * @param size  bytes of a value
 * @param limit  the bits of the least value ≥ 0 that is not valid
 */
export function fixedSize(size: 2 | 4, limit: number) {
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

/** sums ← sums + weight · values, for the n values of one view of the chunk. */
export type AddOne = (sums: Float64Array, n: number, values: ChunkViews, weight: number) => void

/** sums ← sums + Σ weight · values, for the n values of each of four chunks. */
export type AddFour = (
  sums: Float64Array,
  n: number,
  a: ChunkViews,
  b: ChunkViews,
  c: ChunkViews,
  d: ChunkViews,
  weights: readonly number[],
) => void

/**
 * `WireType.accumulate`: copies the next n values of each summand to a chunk, then adds the chunks.
 */
export function accumulateChunks(
  size: 2 | 4,
  summands: readonly Summand[],
  addOne: AddOne,
  addFour: AddFour,
): Accumulator {
  const weights = summands.map(({ weight }) => weight)
  const views = summands.map(() => createChunk(size * CHUNK_VALUES))
  const [a, b, c, d] = views
  let at = 0
  return (sums, n) => {
    const end = at + size * n
    for (const [i, { bytes }] of views.entries()) bytes.set(summands[i]!.values.subarray(at, end))
    at = end
    if (d) addFour(sums, n, a!, b!, c!, d, weights)
    else addOne(sums, n, a!, weights[0]!)
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
