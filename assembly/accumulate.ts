// y ← y + a·x
import { loadFirst, madd, storeFirst } from './inline/lanes'

/**
 * Adds a multiple of one vector to another. Product and sum are rounded to float32 one after the
 * other.
 *
 *   y  in/out  n floats; is x, or does not overlap it
 *   x  in      n floats
 */
export function accumulate(y: usize, x: usize, n: i32, a: f32): void {
  const a4 = f32x4.splat(a)
  // Two vectors at a time: an engine may join them into one 256-bit register.
  for (const end = y + ((<usize>n & ~7) << 2); y < end; y += 32, x += 32) {
    v128.store(y, madd(v128.load(y), v128.load(x), a4))
    v128.store(y, madd(v128.load(y, 16), v128.load(x, 16), a4), 16)
  }
  for (let rest = n & 7; rest > 0; rest -= 4, y += 16, x += 16) {
    storeFirst(y, madd(loadFirst(y, rest), loadFirst(x, rest), a4), rest)
  }
}
