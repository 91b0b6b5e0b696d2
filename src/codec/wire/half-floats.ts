// The common part of the two 16-bit floating-point types, which decode through a table of all
// codes.
import { CHUNK_VALUES, chunks, createChunk } from '../chunks.ts'
import { accumulateChunks, fixedSize } from './fixed-size.ts'
import type { WireType } from './wire-type.ts'

/** The part of a 16-bit type that differs between f16 and bf16. */
interface HalfFloat {
  /** the least code ≥ 0 that is not valid */
  readonly limit: number
  /** codes ← the codes nearest to n float32, given as bits. Too large values saturate. */
  round(bits: Int32Array, n: number, codes: Uint16Array): void
  /**
   * The value of every code; of one that is not valid, infinity or NaN. It is computed at first
   * use, in 0.1 ms.
   */
  table(): Float32Array
}

/** The fields of a 16-bit wire type, except name and id. */
export function halfFloat({ limit, round, table }: HalfFloat) {
  let made: Float32Array | undefined
  const values = () => {
    made ??= table()
    return made
  }
  return {
    ...fixedSize(2, limit),
    encode(floats, _segments, into) {
      const [floatBits, codes] = [createChunk(4 * CHUNK_VALUES), createChunk(2 * CHUNK_VALUES)]
      for (let from = 0; from < floats.length; from += CHUNK_VALUES) {
        const chunk = floats.subarray(from, from + CHUNK_VALUES)
        floatBits.floats.set(chunk)
        round(floatBits.words, chunk.length, codes.halves)
        into.set(codes.bytes.subarray(0, 2 * chunk.length), 2 * from)
      }
    },
    decode(bytes, count, into) {
      for (const { views, length, from } of chunks(bytes.subarray(0, 2 * count))) {
        lookUp(views.halves, length / 2, values(), into.subarray(from / 2))
      }
    },
    accumulate(summands) {
      const decoded = values()
      return accumulateChunks(
        2,
        summands,
        (sums, n, { halves }, weight) => addOne(sums, n, decoded, halves, weight),
        (sums, n, a, b, c, d, weights) =>
          addFour(sums, n, decoded, a.halves, b.halves, c.halves, d.halves, weights),
      )
    },
  } satisfies Partial<WireType>
}

/** floats ← the values of n codes, which may be infinite or NaN. */
function lookUp(codes: Uint16Array, n: number, values: Float32Array, floats: Float32Array): void {
  for (let i = 0; i < n; i++) floats[i] = values[codes[i]!]!
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
  const [wa, wb, wc, wd] = weights as [number, number, number, number]
  for (let i = 0; i < n; i++) {
    sums[i] =
      sums[i]! +
      values[a[i]!]! * wa +
      values[b[i]!]! * wb +
      values[c[i]!]! * wc +
      values[d[i]!]! * wd
  }
}
