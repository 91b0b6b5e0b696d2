// f16: float16, IEEE 754 binary16, in blocks that share a power of two.
//
//   byte  size  field of a block
//      0     1  n − 1, where n is 1 … 256
//      1     1  exponent: a signed byte, −125 … 48
//      2   2·n  float16; value = float16 · 2^exponent, which is a float32
//
// The exponent takes the largest |x| of a block to the last binade of float16, 2¹⁵ … 65504. At −125
// the smallest float32 is the smallest float16, so that smaller exponents would gain nothing. The
// exponent of zeros is 0. Values are rounded to nearest, ties to even; those within 2⁻²⁹ of the
// block's largest err by at most 2⁻¹¹ of themselves.
//
// Type 1 was float16 without an exponent: it saturated at ±65504, and lost what is below 2⁻²⁵.
import { type ChunkViews, createChunk } from '../chunks.ts'
import { type BlockFormat, blocked, largestOf, roundEven } from './blocked.ts'
import { addFourHalves, addOneHalf, halfTable, lookUp } from './half-floats.ts'
import type { WireType } from './wire-type.ts'

/**
 * Values of a full block. With 64, frames were 1.2 % larger, and no more accurate: float16 has a
 * range of its own within the block.
 */
const BLOCK = 256

const MIN_EXPONENT = -125
/** 65504 · 2⁴⁸ is below `LIMIT`. */
const MAX_EXPONENT = 48

/** As float32, a float16's exponent is smaller by 112. */
const values = halfTable(13, 2 ** 112, 2 ** 16)

let scales: Float64Array | undefined

/** The scale of every exponent, given as an unsigned byte; NaN if it is not valid. */
function scaleTable(): Float64Array {
  if (scales) return scales
  scales = new Float64Array(256).fill(Number.NaN)
  for (let e = MIN_EXPONENT; e <= MAX_EXPONENT; e++) scales[e & 0xff] = 2 ** e
  return scales
}

const format: BlockFormat<Uint16Array> = {
  block: BLOCK,
  codesAt: 2,
  size: 2,
  codedIn: ({ halves }) => halves,
  scaleIn: (view, at) => scaleTable()[view.getUint8(at)]!,
  encoder(floats, into) {
    const scaled = createChunk(4 * BLOCK)
    const codes = createChunk(2 * BLOCK)
    return (from, n, at) => {
      scaled.floats[0] = largestOf(floats, from, n)
      const exponent = exponentFor(scaled.words[0]!)
      into[at] = exponent
      encodeBlock(floats, from, n, 2 ** -exponent, scaled, codes.halves)
      into.set(codes.bytes.subarray(0, 2 * n), at + 1)
    }
  },
  firstInvalid({ coded, at }, n, zero) {
    // Adding `carry` sets the sign bit exactly if the code is not valid.
    const carry = 0x8000 - (zero ? 1 : 0x7c00)
    let bits = 0
    for (let i = at; i < at + n; i++) bits |= (coded[i]! & 0x7fff) + carry
    if ((bits & 0x8000) === 0) return null
    const bad = (code: number) => (((code & 0x7fff) + carry) & 0x8000) !== 0
    return 2 * coded.subarray(at, at + n).findIndex(bad)
  },
  decode: (run, n, floats, to) => lookUp(run, n, values(), floats, to),
  addOne: (sums, to, n, run, weight) => addOneHalf(sums, to, n, values(), run, weight),
  addFour: (sums, to, n, runs, weights) => addFourHalves(sums, to, n, values(), runs, weights),
}

export const f16: WireType<'f16'> = { name: 'f16', id: 4, ...blocked(format) }

/** The exponent of a block. @param most  its largest |x|, as bits */
function exponentFor(most: number): number {
  if (most === 0) return 0
  // From 65520 / 65536 of a power of two on, float16 is rounded up to it.
  const exponent = ((most + 0x1000) >>> 23) - 127 - 15
  return Math.max(MIN_EXPONENT, Math.min(MAX_EXPONENT, exponent))
}

/**
 * codes ← the float16 nearest to factor · floats. Too large values saturate.
 *
 * @param scaled  receives factor · floats. One that is subnormal there is 0 as float16
 */
function encodeBlock(
  floats: Float32Array,
  from: number,
  n: number,
  factor: number,
  scaled: ChunkViews,
  codes: Uint16Array,
): void {
  for (let i = 0; i < n; i++) scaled.floats[i] = floats[from + i]! * factor
  for (let i = 0; i < n; i++) codes[i] = nearest(scaled.words[i]!, scaled.floats[i]!)
}

/** The code of the float16 nearest to a float32, given as bits. Too large values saturate. */
function nearest(bits: number, x: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  // Below 2⁻¹⁴ are subnormals, multiples of 2⁻²⁴.
  if (magnitude < 0x38800000) return sign | roundEven(Math.abs(x) * 2 ** 24)
  const code = (magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13
  return sign | Math.min(code, 0x7bff)
}
