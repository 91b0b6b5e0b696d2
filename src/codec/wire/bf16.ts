// bfloat16: the upper half of a float32, rounded to nearest, but not up to 2⁶⁴.
import { CHUNK_VALUES, chunks, createChunk } from '../chunks.ts'
import { accumulateChunks, fixedSize } from './fixed-size.ts'
import { LIMIT, type WireType } from './wire-type.ts'

/** The code of 2⁶⁴. */
const LIMIT_CODE = 0x5f80

export const bf16: WireType<'bf16'> = {
  name: 'bf16',
  id: 2,
  ...fixedSize(2, LIMIT_CODE),
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
      lookUp(views.halves, length / 2, valuesOfCodes(), into.subarray(from / 2))
    }
  },
  accumulate(summands) {
    const values = valuesOfCodes()
    return accumulateChunks(
      2,
      summands,
      (sums, n, { halves }, weight) => addOne(sums, n, values, halves, weight),
      (sums, n, a, b, c, d, weights) =>
        addFour(sums, n, values, a.halves, b.halves, c.halves, d.halves, weights),
    )
  },
}

/** codes ← the bf16 nearest to n float32, given as bits. Too large values saturate. */
function round(bits: Int32Array, n: number, codes: Uint16Array): void {
  for (let i = 0; i < n; i++) codes[i] = nearest(bits[i]!)
}

function nearest(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  const code = (magnitude + 0x7fff + ((magnitude >>> 16) & 1)) >>> 16
  return sign | Math.min(code, LIMIT_CODE - 1)
}

let table: Float32Array | undefined

/**
 * The value of every code, infinity from 2⁶⁴ on, computed at first use. Decoding by a shift instead
 * takes equally long.
 */
function valuesOfCodes(): Float32Array {
  if (table) return table
  const bits = Int32Array.from({ length: 1 << 16 }, (_, code) => code << 16)
  table = new Float32Array(bits.buffer).map((x) =>
    Math.abs(x) < LIMIT ? x : Number.POSITIVE_INFINITY,
  )
  return table
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
