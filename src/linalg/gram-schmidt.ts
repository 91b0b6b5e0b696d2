// P̂ as the paper's code makes it: Gram–Schmidt in one pass, which loses orthogonality where columns
// nearly depend on each other, and damps columns not much longer than epsilon. For `paper()` alone:
// `Host.orthonormalize` does neither.
//
// + − × ÷ and sqrt of float64 in a fixed order, rounded to float32 once: the same bits everywhere.
import type { Layout } from '../backend.ts'
import { columnsOf, dot } from './products.ts'

/**
 * For each column: takes from it its parts along those before it, one after another, and divides it
 * by its norm + epsilon. A zero column stays zero.
 *
 * (The paper's code gives Σ weight·P and adds 1e-8; dividing both by Σ weight changes nothing.)
 *
 * @param left  a left arena of the plan; in place
 */
export function gramSchmidt(layout: Layout, left: Float32Array, epsilon: number): void {
  for (const { rows, rank, left: at } of layout.matrices) {
    const columns = columnsOf(left, at, rows, rank)
    for (const [k, column] of columns.entries()) {
      const rest = Float64Array.from(column) // float32 might overflow between the first and the last
      for (const earlier of columns.slice(0, k)) {
        const part = dot(earlier, rest)
        for (let i = 0; i < rows; i++) rest[i] = rest[i]! - part * earlier[i]!
      }
      const divisor = Math.sqrt(dot(rest, rest)) + epsilon
      for (let i = 0; i < rows; i++) column[i] = rest[i]! / divisor
    }
  }
}
