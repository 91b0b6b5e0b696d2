// m ← momentum·m + d, x ← x − learningRate·(d + m)     twin: shaders/momentum.wgsl
// with d = g + weightDecay·x
import { loadFirst, madd, storeFirst } from './inline/lanes'

/**
 * One step of stochastic gradient descent with momentum and weight decay (PowerSGD, Algorithm 2,
 * lines 13 and 14). Like Nesterov's, the step adds d once more to the momentum.
 *
 *   x  in/out  n floats: the parameters
 *   m  in/out  n floats: the momentum
 *   g  in      n floats: the update
 *
 * No two of them overlap. Each operation is rounded to float32, in the order of the formulas above.
 */
export function momentum(
  x: usize,
  m: usize,
  g: usize,
  n: i32,
  learningRate: f32,
  momentum: f32,
  weightDecay: f32,
): void {
  const rate4 = f32x4.splat(learningRate)
  const momentum4 = f32x4.splat(momentum)
  const decay4 = f32x4.splat(weightDecay)
  for (const end = x + ((<usize>n & ~3) << 2); x < end; x += 16, m += 16, g += 16) {
    const x4 = v128.load(x)
    const d4 = madd(v128.load(g), x4, decay4)
    const m4 = madd(d4, v128.load(m), momentum4)
    v128.store(m, m4)
    v128.store(x, f32x4.sub(x4, f32x4.mul(rate4, f32x4.add(d4, m4))))
  }
  const rest = n & 3
  if (rest) {
    const x4 = loadFirst(x, rest)
    const d4 = madd(loadFirst(g, rest), x4, decay4)
    const m4 = madd(d4, loadFirst(m, rest), momentum4)
    storeFirst(m, m4, rest)
    storeFirst(x, f32x4.sub(x4, f32x4.mul(rate4, f32x4.add(d4, m4))), rest)
  }
}
