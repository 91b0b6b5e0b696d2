// Σ x²                                            twin: shaders/norm.wgsl
import { high, low, madd64, total64 } from './inline/lanes'

/**
 * The squared Euclidean norm of n floats. In float64, no square of a float32 overflows.
 *
 * The order of the sum is fixed: four running lanes, added as (0 + 2) + (1 + 3), then the one to
 * three floats past a multiple of four.
 */
export function norm(x: usize, n: i32): f64 {
  const end = x + (<usize>n << 2)
  let low2 = f64x2.splat(0)
  let high2 = low2
  for (; x + 16 <= end; x += 16) {
    const x4 = v128.load(x)
    const a2 = low(x4)
    const b2 = high(x4)
    low2 = madd64(low2, a2, a2)
    high2 = madd64(high2, b2, b2)
  }
  let sum = total64(low2, high2)
  for (; x < end; x += 4) {
    const a = <f64>load<f32>(x)
    sum += a * a
  }
  return sum
}
