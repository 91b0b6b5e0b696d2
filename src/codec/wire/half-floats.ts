// What the two floating-point types of 16 bits have in common: a table gives the value of every code.
import { CHUNK_VALUES, chunks, createChunk } from '../chunks.ts'
import { fixedSize, reader } from './fixed-size.ts'
import type { Accumulator, Summand, WireType } from './wire-type.ts'

interface HalfFloat {
  /** the bits of a code that are all set if its value is not finite */
  readonly exponent: number
  /** The codes nearest to n float32 with these bits. */
  round(bits: Int32Array, n: number, codes: Uint16Array): void
  /** The value of every code. Made when first needed, in 0.1 ms. */
  table(): Float32Array
}

export function halfFloat({ exponent, round, table }: HalfFloat) {
  let made: Float32Array | undefined
  const values = () => {
    made ??= table()
    return made
  }
  return {
    ...fixedSize(2, exponent),
    encode(floats, _segments, into) {
      const [near, codes] = [createChunk(4 * CHUNK_VALUES), createChunk(2 * CHUNK_VALUES)]
      for (let from = 0; from < floats.length; from += CHUNK_VALUES) {
        const chunk = floats.subarray(from, from + CHUNK_VALUES)
        near.floats.set(chunk)
        round(near.words, chunk.length, codes.halves)
        into.set(codes.bytes.subarray(0, 2 * chunk.length), 2 * from)
      }
    },
    decode(bytes, count, into) {
      for (const { views, length, from } of chunks(bytes.subarray(0, 2 * count))) {
        lookUp(views.halves, length / 2, values(), into.subarray(from / 2))
      }
    },
    accumulate: (summands) =>
      summands.length === 4 ? four(summands, values()) : one(summands[0]!, values()),
  } satisfies Partial<WireType>
}

/** floats ← the values of n codes; what is not finite stays so. */
function lookUp(codes: Uint16Array, n: number, values: Float32Array, floats: Float32Array): void {
  for (let i = 0; i < n; i++) floats[i] = values[codes[i]!]!
}

function one(summand: Summand, values: Float32Array): Accumulator {
  const { views, next } = reader(2)(summand)
  return (sums, n) => {
    next(n)
    addOne(sums, n, values, views.halves, summand.weight)
  }
}

function four(summands: readonly Summand[], values: Float32Array): Accumulator {
  const weights = summands.map(({ weight }) => weight)
  const readers = summands.map(reader(2))
  const [a, b, c, d] = readers.map(({ views }) => views.halves)
  return (sums, n) => {
    for (const { next } of readers) next(n)
    addFour(sums, n, values, a!, b!, c!, d!, weights)
  }
}

function addOne(
  sums: Float64Array,
  n: number,
  values: Float32Array,
  x: Uint16Array,
  weight: number,
): void {
  for (let i = 0; i < n; i++) sums[i] = sums[i]! + values[x[i]!]! * weight
}

function addFour(
  sums: Float64Array,
  n: number,
  values: Float32Array,
  a: Uint16Array,
  b: Uint16Array,
  c: Uint16Array,
  d: Uint16Array,
  weights: readonly number[],
): void {
  const [wa, wb, wc, wd] = [weights[0]!, weights[1]!, weights[2]!, weights[3]!]
  for (let i = 0; i < n; i++) {
    sums[i] =
      sums[i]! +
      values[a[i]!]! * wa +
      values[b[i]!]! * wb +
      values[c[i]!]! * wc +
      values[d[i]!]! * wd
  }
}
