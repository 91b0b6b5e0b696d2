/**
 * Σ x² from what shaders/norm.wgsl has written of a stretch: for each 4096 floats, the float32 bits of their sum of
 * squares, scaled, and the biased exponent e of the largest: the scale was 2^(128 − e).
 *
 * In float64, where no square of a float32 overflows. Of 4096·n floats the result errs by
 * γ₁₄ + (n − 1)·2⁻⁵³ at most, relative to itself (γₖ = k·u ÷ (1 − k·u), u = 2⁻²⁴: 8.4e-7), and where
 * the GPU takes subnormal numbers for 0, by their squares, each below 2⁻²⁵².
 *
 * @param sums  two words per workgroup
 */
export function combine(sums: Uint32Array): number {
  const floats = new Float32Array(sums.buffer, sums.byteOffset, sums.length)
  let total = 0
  for (let i = 0; i < sums.length; i += 2) total += floats[i]! * 4 ** (sums[i + 1]! - 128)
  return total
}
