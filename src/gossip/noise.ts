// Seeded uniform random numbers for stochastic rounding (Moniqua).

import { philox } from '../linalg/philox.ts'
import { isFloats, show } from '../validate.ts'

/**
 * Draws uniform numbers in [0, 1) for the first `length` entries of a parameter. Both ends of the
 * edge lo–hi draw the same. With lo = hi, the numbers are that node's own.
 *
 * @param parameter  its index
 * @param step  number of the iteration
 */
export type Noise = (
  lo: number,
  hi: number,
  parameter: number,
  step: number,
  length: number,
) => Float32Array

/**
 * The `use` of noise, apart from those of factors (see EdgeRandom). The seed and the use are the
 * generator's key.
 */
export const NOISE = 64

/**
 * Uniform numbers in [0, 1), multiples of 2⁻²⁴. Element i is the upper 24 bits of lane i mod 4 of
 * Philox4x32-10 at counter (⌊i/4⌋, 0, parameter, step) under key (seed, 64).
 */
export function uniform(
  seed: number,
  parameter: number,
  step: number,
  length: number,
): Float32Array {
  const x = new Float32Array(length)
  const key = [seed, NOISE]
  for (let i = 0; i < length; i += 4) {
    const random = philox([i / 4, 0, parameter, step], key)
    for (let lane = 0; lane < 4 && i + lane < length; lane++) {
      x[i + lane] = (random[lane]! >>> 8) * 2 ** -24
    }
  }
  return x
}

/**
 * Checks numbers that a caller's `random` has drawn.
 *
 * @throws RangeError  unless they are a Float32Array of `length` numbers in [0, 1)
 */
export function checkNoise(x: unknown, length: number): Float32Array {
  if (!isFloats(x) || x.length !== length) {
    throw new RangeError(`"random": expected a Float32Array of ${length} numbers`)
  }
  const bad = x.find((u) => !(u >= 0 && u < 1))
  if (bad === undefined) return x
  throw new RangeError(`"random": expected numbers from 0, below 1, got ${show(bad)}`)
}
