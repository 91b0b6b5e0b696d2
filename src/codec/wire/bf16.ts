// bfloat16: the upper half of a float32, rounded to nearest; it saturates below 2⁶⁴.
import { halfFloat } from './half-floats.ts'
import { LIMIT, type WireType } from './wire-type.ts'

/** The code of 2⁶⁴. */
const LIMIT_CODE = 0x5f80

export const bf16: WireType<'bf16'> = {
  name: 'bf16',
  id: 2,
  ...halfFloat({ limit: LIMIT_CODE, round, table }),
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

/**
 * The value of every code, infinity from 2⁶⁴ on. Decoding by a shift instead takes equally long.
 */
function table(): Float32Array {
  const bits = Int32Array.from({ length: 1 << 16 }, (_, code) => code << 16)
  return new Float32Array(bits.buffer).map((x) => (Math.abs(x) < LIMIT ? x : Number.POSITIVE_INFINITY))
}
