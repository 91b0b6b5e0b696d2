// Activations and deltas for tests, and their products in float64.

import type { Factored, Gradient } from '../../../src/factored.ts'
import type { Compressor } from '../../../src/index.ts'
import { type Delivery, type Gradients, type Step, stepTogether } from '../../support/fleet.ts'
import { gaussian } from '../../support/gaussian.ts'
import { uniform } from '../../support/numbers.ts'

/** Factors of a matrix of rows × cols. */
export interface Pair extends Factored {
  readonly rows: number
  readonly cols: number
}

/** Standard normals; with a rank, products of normal matrices with so many columns between them. */
export function pairOf(rows: number, cols: number, samples: number, seed: number, rank = 0): Pair {
  const factor = (width: number, own: number) => {
    if (rank === 0) return gaussian(samples * width, own)
    const [inner, outer] = [gaussian(samples * rank, own), gaussian(rank * width, own + 1)]
    return Float32Array.from({ length: samples * width }, (_, at) => {
      const [n, j] = [Math.floor(at / width), at % width]
      let sum = 0
      for (let k = 0; k < rank; k++) sum += inner[n * rank + k]! * outer[k * width + j]!
      return sum
    })
  }
  return { rows, cols, activations: factor(cols, 4 * seed), deltas: factor(rows, 4 * seed + 2) }
}

/** DᵀA, rows × cols, in float64 */
export function explicit({ activations, deltas, rows, cols }: Pair): Float64Array {
  const product = new Float64Array(rows * cols)
  for (let n = 0; n < activations.length / cols; n++) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < cols; j++) {
        product[i * cols + j]! += deltas[n * rows + i]! * activations[n * cols + j]!
      }
    }
  }
  return product
}

/** A model: two matrices given as factors, a vector, and a matrix given whole. */
export const SHAPES = [[40, 60], [40], [24, 30], [18, 20]] as const

/** One step of workers whose gradients may be factored. */
export function stepFactored(
  workers: readonly Compressor[],
  gradients: Gradients,
  weights?: readonly number[],
  delivery: Delivery = {},
): Promise<Step> {
  return stepTogether(workers, gradients, weights, { ...delivery, shapes: SHAPES })
}

/** One worker's gradients for SHAPES, two of them factored, and the same multiplied out. */
export function gradientsOf(seed: number, samples: readonly [number, number] = [9, 5]) {
  const pairs = [pairOf(40, 60, samples[0], 10 * seed), pairOf(24, 30, samples[1], 10 * seed + 1)]
  const [vector, matrix] = [uniform(40, 10 * seed + 2), uniform(360, 10 * seed + 3)]
  const products = pairs.map((pair) => Float32Array.from(explicit(pair)))
  return {
    pairs,
    factored: [pairs[0]!, vector, pairs[1]!, matrix] as Gradient[],
    whole: [products[0]!, vector, products[1]!, matrix],
  }
}

/** ‖x − y‖ ÷ ‖y‖ */
export function relative(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let [error, size] = [0, 0]
  for (let i = 0; i < y.length; i++) {
    error += (x[i]! - y[i]!) ** 2
    size += y[i]! ** 2
  }
  return Math.sqrt(error / size)
}
