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
import { createChunk } from '../chunks.ts'
import { type BlockFormat, blocked } from './blocked.ts'
import { carries } from './fixed-size.ts'
import type { WireType } from './wire-type.ts'

/**
 * Values of a full block. With 64, frames were 1.2 % larger, and no more accurate: float16 has a
 * range of its own within the block.
 */
const BLOCK = 256

const MIN_EXPONENT = -125
/** 65504 · 2⁴⁸ is below `LIMIT`. */
const MAX_EXPONENT = 48

/** From this exponent on, the float16 of subnormals is 0. */
const MIN_SHIFTED = -100

const format: BlockFormat<Uint16Array> = {
  block: BLOCK,
  codesAt: 2,
  size: 2,
  codesIn: ({ halves }) => halves,
  scaleIn: (view, at) => tables().scales[view.getUint8(at)]!,
  encoder(values, into) {
    const bits = new Int32Array(values.buffer, values.byteOffset, values.length)
    const scaled = createChunk(4 * BLOCK)
    const codes = createChunk(2 * BLOCK)
    return (from, n, at) => {
      const exponent = exponentFor(largest(bits, from, n))
      into[at] = exponent
      if (exponent >= MIN_SHIFTED) round(bits, from, n, exponent << 23, codes.halves)
      else {
        for (let i = 0; i < n; i++) scaled.floats[i] = values[from + i]! * 2 ** -exponent
        round(scaled.words, 0, n, 0, codes.halves)
      }
      into.set(codes.bytes.subarray(0, 2 * n), at + 1)
    }
  },
  firstInvalid({ codes, at, views }, n, zero) {
    // As in fixed-size.ts, the carry sets the sign bit exactly if the code is not valid.
    const carry = 0x8000 - (zero ? 1 : 0x7c00)
    const end = at + n
    const bad = (code: number) => (((code & 0x7fff) + carry) & 0x8000) !== 0
    const both = carry * 0x10001
    const bits = carries(views.words, (at + 1) >> 1, end >> 1, 0x7fff7fff, both)
    if ((bits & 0x80008000) === 0 && !bad(codes[at]!) && !bad(codes[end - 1]!)) return Number.NaN
    return 2 * codes.subarray(at, end).findIndex(bad)
  },
  decode({ codes, at, scale }, n, floats, to) {
    const { values } = tables()
    for (let i = 0; i < n; i++) floats[to + i] = values[codes[at + i]!]! * scale
  },
  addOne(sums, to, n, { codes, at, scale }, weight) {
    const { values } = tables()
    const factor = scale * weight
    for (let i = 0; i < n; i++) sums[to + i] = sums[to + i]! + values[codes[at + i]!]! * factor
  },
  addFour(sums, to, n, a, b, c, d, weights) {
    const { values } = tables()
    const [wa, wb] = [a.scale * weights[0]!, b.scale * weights[1]!]
    const [wc, wd] = [c.scale * weights[2]!, d.scale * weights[3]!]
    const [xa, xb, xc, xd] = [a.codes, b.codes, c.codes, d.codes]
    const [ia, ib, ic, id] = [a.at, b.at, c.at, d.at]
    for (let i = 0; i < n; i++) {
      sums[to + i] =
        sums[to + i]! +
        values[xa[ia + i]!]! * wa +
        values[xb[ib + i]!]! * wb +
        values[xc[ic + i]!]! * wc +
        values[xd[id + i]!]! * wd
    }
  },
}

export const f16: WireType<'f16'> = { name: 'f16', id: 4, ...blocked(format) }

/** The largest |x| of n float32. All are bits. */
function largest(bits: Int32Array, from: number, n: number): number {
  let most = 0
  for (let i = from; i < from + n; i++) most = Math.max(most, bits[i]! & 0x7fffffff)
  return most
}

/** The exponent of a block. @param most  its largest |x|, as bits */
function exponentFor(most: number): number {
  if (most === 0) return 0
  // From 65520 / 65536 of a power of two on, float16 is rounded up to it.
  const exponent = ((most + 0x1000) >>> 23) - 127 - 15
  return Math.max(MIN_EXPONENT, Math.min(MAX_EXPONENT, exponent))
}

/**
 * codes ← the float16 nearest to n float32, given as bits, after `shift` has been subtracted.
 * Below 2⁶⁴ by less than half a step, values are rounded down.
 */
function round(bits: Int32Array, from: number, n: number, shift: number, codes: Uint16Array): void {
  for (let i = 0; i < n; i++) codes[i] = nearest(bits[from + i]!, shift)
}

function nearest(bits: number, shift: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = (bits & 0x7fffffff) - shift
  if (magnitude >= 0x477ff000) return sign | 0x7bff // from 65520 on, rounding would give infinity
  if (magnitude >= 0x38800000) {
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
  }
  if (magnitude <= 0x33000000) return sign // 2⁻²⁵, half of the smallest subnormal, ties to zero
  const lost = 126 - (magnitude >>> 23) // 14 … 24 bits
  const mantissa = (magnitude & 0x7fffff) | 0x800000
  const half = (1 << (lost - 1)) - 1
  return sign | ((mantissa + half + ((mantissa >>> lost) & 1)) >>> lost)
}

interface Tables {
  /**
   * The value of every code. Decoding by arithmetic takes twice as long, and longer still for
   * subnormals, which are common in gradients.
   */
  readonly values: Float32Array
  /** the scale of every exponent, as an unsigned byte; NaN if it is not valid */
  readonly scales: Float64Array
}

let made: Tables | undefined

/** The tables, computed at first use, in 0.1 ms. */
function tables(): Tables {
  if (made) return made
  const values = new Float32Array(1 << 16)
  for (let top = 0; top < 64; top++) {
    const exponent = top & 31
    const unit = exponent === 31 ? Number.POSITIVE_INFINITY : 2 ** (Math.max(exponent, 1) - 25)
    const scale = top < 32 ? unit : -unit
    const first = exponent === 0 ? 0 : 1024
    for (let i = 0; i < 1024; i++) values[1024 * top + i] = (first + i) * scale
  }
  const scales = new Float64Array(256).fill(Number.NaN)
  for (let e = MIN_EXPONENT; e <= MAX_EXPONENT; e++) scales[e & 0xff] = 2 ** e
  made = { values, scales }
  return made
}
