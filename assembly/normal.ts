// x ← standard normals
import { storeFirst } from './inline/lanes'
import { philox4 } from './inline/philox'
import { quantile } from './inline/quantile'

/**
 * Seeded standard normals, with the same bits on every engine. Element i depends on no other
 * element: it is the normal quantile of lane i mod 4 of Philox4x32-10 at counter (⌊i/4⌋, column,
 * parameter, step) under key (seed, use), computed in float64 and rounded once.
 *
 *   x  out  n floats
 */
export function normal(
  x: usize,
  n: i32,
  seed: u32,
  use: u32,
  parameter: u32,
  column: u32,
  step: u32,
): void {
  for (let block: u32 = 0, rest = n; rest > 0; block++, rest -= 4, x += 16) {
    const random4 = philox4(block, column, parameter, step, seed, use)
    let normal4 = f32x4.splat(<f32>quantile(i32x4.extract_lane(random4, 0)))
    normal4 = f32x4.replace_lane(normal4, 1, <f32>quantile(i32x4.extract_lane(random4, 1)))
    normal4 = f32x4.replace_lane(normal4, 2, <f32>quantile(i32x4.extract_lane(random4, 2)))
    normal4 = f32x4.replace_lane(normal4, 3, <f32>quantile(i32x4.extract_lane(random4, 3)))
    storeFirst(x, normal4, rest)
  }
}
