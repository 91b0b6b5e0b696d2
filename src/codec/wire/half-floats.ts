// The common part of 16-bit codes: a table decodes them.
import type { Run } from './blocked.ts'

/**
 * Returns the table of all codes' values, which is computed at its first use, in about 1 ms.
 * Decoding f16 by arithmetic takes twice as long, and longer still for subnormals, which are common
 * in gradients; bf16 by a shift takes equally long.
 *
 * @param shift  of a code without its sign, to the place of a float32's exponent and mantissa
 * @param factor  by which that float32 is multiplied
 * @param limit  of the values; codes from there on have the value infinity
 */
export function halfTable(shift: number, factor: number, limit: number): () => Float32Array {
  let table: Float32Array | undefined
  return () => {
    if (table) return table
    const bits = new Int32Array(1 << 16)
    for (let code = 0; code < bits.length; code++) {
      bits[code] = ((code & 0x8000) << 16) | ((code & 0x7fff) << shift)
    }
    table = new Float32Array(bits.buffer)
    for (const [code, x] of table.entries()) {
      table[code] = Math.abs(x * factor) < limit ? x * factor : Number.POSITIVE_INFINITY
    }
    return table
  }
}

/** floats[to + i] ← scale · the value of code i, for i from 0 to n − 1; exact in float32. */
export function lookUp(
  { coded, at, scale }: Run<Uint16Array>,
  n: number,
  values: Float32Array,
  floats: Float32Array,
  to: number,
): void {
  for (let i = 0; i < n; i++) floats[to + i] = values[coded[at + i]!]! * scale
}

/** sums[to + i] += weight · scale · the value of code i, for i from 0 to n − 1 */
export function addHalves(
  sums: Float64Array,
  to: number,
  n: number,
  values: Float32Array,
  { coded, at, scale }: Run<Uint16Array>,
  weight: number,
): void {
  const factor = scale * weight
  for (let i = 0; i < n; i++) sums[to + i] = sums[to + i]! + values[coded[at + i]!]! * factor
}
