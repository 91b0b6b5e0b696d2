// float16, IEEE 754 binary16, rounded to nearest; it saturates at ±65504.
import { halfFloat } from './half-floats.ts'
import type { WireType } from './wire-type.ts'

export const f16: WireType<'f16'> = {
  name: 'f16',
  id: 1,
  ...halfFloat({ limit: 0x7c00, round, table }),
}

/** codes ← the f16 nearest to n float32, given as bits. Too large values saturate. */
function round(bits: Int32Array, n: number, codes: Uint16Array): void {
  for (let i = 0; i < n; i++) codes[i] = nearest(bits[i]!)
}

function nearest(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude >= 0x477ff000) return sign | 0x7bff // from 65520 on, rounding would give infinity
  if (magnitude >= 0x38800000) {
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
  }
  if (magnitude <= 0x33000000) return sign // 2⁻²⁵, half of the smallest subnormal, ties to zero
  const shift = 126 - (magnitude >>> 23) // 14 … 24
  const mantissa = (magnitude & 0x7fffff) | 0x800000
  const half = (1 << (shift - 1)) - 1
  return sign | ((mantissa + half + ((mantissa >>> shift) & 1)) >>> shift)
}

/**
 * The value of every code. Decoding by arithmetic takes twice as long, and longer still for
 * subnormals, which are common in gradients.
 */
function table(): Float32Array {
  const values = new Float32Array(1 << 16)
  for (let top = 0; top < 64; top++) {
    const exponent = top & 31
    const unit = exponent === 31 ? Number.POSITIVE_INFINITY : 2 ** (Math.max(exponent, 1) - 25)
    const scale = top < 32 ? unit : -unit
    const first = exponent === 0 ? 0 : 1024
    for (let i = 0; i < 1024; i++) values[1024 * top + i] = (first + i) * scale
  }
  return values
}
