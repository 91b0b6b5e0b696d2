// x ← a·x                                         twin: shaders/scale.wgsl
import { loadFirst, storeFirst } from './inline/lanes'

/**
 * Multiplies a vector by a number. With a = 0 it clears the vector, even NaN and ∞.
 *
 *   x  in/out  n floats
 */
export function scale(x: usize, n: i32, a: f32): void {
  if (a == 0) {
    memory.fill(x, 0, <usize>n << 2)
    return
  }
  const a4 = f32x4.splat(a)
  for (const end = x + ((<usize>n & ~7) << 2); x < end; x += 32) {
    v128.store(x, f32x4.mul(v128.load(x), a4))
    v128.store(x, f32x4.mul(v128.load(x, 16), a4), 16)
  }
  for (let rest = n & 7; rest > 0; rest -= 4, x += 16) {
    storeFirst(x, f32x4.mul(loadFirst(x, rest), a4), rest)
  }
}
