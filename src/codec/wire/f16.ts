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
import { type BlockFormat, blocked, roundEven } from './blocked.ts'
import { addHalves, halfTable, lookUp } from './half-floats.ts'
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
  id: 4,
  block: BLOCK,
  codesAt: 2,
  size: 2,
  codedIn: ({ halves }) => halves,
  scaleIn: (view, at) => scaleTable()[view.getUint8(at)]!,
  scaleFor(most) {
    largest[0] = most
    return 2 ** exponentFor(new Int32Array(largest.buffer)[0]!)
  },
  writeScale: (scale, view, at) => view.setInt8(at, Math.round(Math.log2(scale))),
  encode({ floats, words }, from, n, scale, { coded, at }) {
    // One that is subnormal as float32 is 0 as float16.
    for (let i = from; i < from + n; i++) floats[i] = floats[i]! / scale
    for (let i = 0; i < n; i++) coded[at + i] = nearest(words[from + i]!, floats[from + i]!)
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
  add: (sums, to, n, run, weight) => addHalves(sums, to, n, values(), run, weight),
}

export const f16: WireType<'f16'> = { name: 'f16', ...blocked(format) }

const largest = new Float32Array(1)

/** The exponent of a block. @param most  its largest |x|, as bits */
function exponentFor(most: number): number {
  if (most === 0) return 0
  // From 65520 / 65536 of a power of two on, float16 is rounded up to it.
  const exponent = ((most + 0x1000) >>> 23) - 127 - 15
  return Math.max(MIN_EXPONENT, Math.min(MAX_EXPONENT, exponent))
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
