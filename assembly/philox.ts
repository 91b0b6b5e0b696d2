// out ← Philox4x32-10
import { philox4 } from './inline/philox'

/**
 * The generator of `normal` alone, exported so that a test can check the published known answers.
 *
 *   out  out  4 words
 */
export function philox(
  out: usize,
  c0: u32,
  c1: u32,
  c2: u32,
  c3: u32,
  k0: u32,
  k1: u32,
): void {
  v128.store(out, philox4(c0, c1, c2, c3, k0, k1))
}
