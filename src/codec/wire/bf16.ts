// bfloat16: the upper half of a float32, rounded to nearest; it saturates at the largest finite
// value.
import { halfFloat } from './half-floats.ts'
import type { WireType } from './wire-type.ts'

export const bf16: WireType<'bf16'> = {
  name: 'bf16',
  id: 2,
  ...halfFloat({ exponent: 0x7f80, round, table }),
}

/** codes ← the bf16 nearest to n float32, given as bits. Too large values saturate. */
function round(bits: Int32Array, n: number, codes: Uint16Array): void {
  for (let i = 0; i < n; i++) codes[i] = nearest(bits[i]!)
}

function nearest(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  const code = (magnitude + 0x7fff + ((magnitude >>> 16) & 1)) >>> 16
  return sign | (code >= 0x7f80 ? 0x7f7f : code)
}

/** The value of every code. Decoding by a shift instead takes equally long. */
function table(): Float32Array {
  return new Float32Array(Int32Array.from({ length: 1 << 16 }, (_, code) => code << 16).buffer)
}
