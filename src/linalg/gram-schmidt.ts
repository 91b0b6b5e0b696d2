// Gram–Schmidt in one pass, as in the paper's code. It loses orthogonality where columns nearly
// depend on each other, and it shortens columns that are not much longer than epsilon. Only
// `paper()` uses it; `Host.orthonormalize` has neither fault.
//
// It uses only + − × ÷ and sqrt of float64 in a fixed order, and rounds to float32 once, so its
// bits are the same on every worker.
import type { Layout } from '../backend.ts'
import { columnsOf, dot } from './products.ts'

/**
 * Orthogonalizes each column against the columns before it, one after another, and divides it by
 * norm + epsilon. A zero column stays zero.
 *
 * The paper's code does so to Σ weight·P, with an epsilon of 1e-8. Dividing both by Σ weight
 * changes nothing, so the caller passes the mean P̄ and 1e-8 ÷ Σ weight.
 *
 * @param left  P̄ of every matrix, a left arena of the layout; changed in place
 */
export function gramSchmidt(layout: Layout, left: Float32Array, epsilon: number): void {
  for (const { rows, rank, left: at } of layout.matrices) {
    const columns = columnsOf(left, at, rows, rank)
    for (const [k, column] of columns.entries()) {
      const rest = Float64Array.from(column) // float32 could overflow in between
      for (const earlier of columns.slice(0, k)) {
        const part = dot(earlier, rest)
        for (let i = 0; i < rows; i++) rest[i] = rest[i]! - part * earlier[i]!
      }
      const divisor = Math.sqrt(dot(rest, rest)) + epsilon
      for (let i = 0; i < rows; i++) column[i] = rest[i]! / divisor
    }
  }
}
