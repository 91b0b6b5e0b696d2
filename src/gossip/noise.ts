// Uniform random numbers, which both ends of an edge draw alike, or a node for itself.

import { philox } from '../linalg/philox.ts'
import { show } from '../validate.ts'

/**
 * Numbers in [0, 1) for the entries of a parameter: the edge lo–hi's, the same on both ends, or, where
 * lo = hi, a node's own.
 *
 * @param step  number of the iteration
 */
export type Noise = (
  lo: number,
  hi: number,
  parameter: number,
  step: number,
  length: number,
) => Float32Array

/** What they are for, beside the uses of factors; with the seed, the key of their generator. */
export const NOISE = 64

/**
 * Multiples of 2⁻²⁴: element i is from lane i mod 4 of Philox4x32-10 at counter (⌊i/4⌋, 0, parameter, step)
 * under key (seed, 64).
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

/** @throws RangeError  unless a caller's numbers are as many as they must be, from 0 and below 1 */
export function checkNoise(x: unknown, length: number): Float32Array {
  if (!(x instanceof Float32Array) || x.length !== length) {
    throw new RangeError(`"random": expected a Float32Array of ${length} numbers`)
  }
  const bad = x.find((u) => !(u >= 0 && u < 1))
  if (bad === undefined) return x
  throw new RangeError(`"random": expected numbers from 0, below 1, got ${show(bad)}`)
}
