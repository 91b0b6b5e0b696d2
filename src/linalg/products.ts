// Norms of, and products with, sums of P·Qᵀ, computed from the factors alone. All sums are in
// float64 and in a fixed order, so the bits are the same on every worker.
import type { Layout, Side } from '../backend.ts'

/** P·Qᵀ for every matrix of a layout. */
export interface Product {
  /** P of every matrix: a left arena, rows × rank by column */
  readonly left: Float32Array
  /** Q of every matrix: a right arena, cols × rank by column */
  readonly right: Float32Array
}

/**
 * ‖Σ P·Qᵀ‖², the squared Frobenius norm over all matrices of the layout. No product P·Qᵀ is formed:
 * the inner product of P₁·Q₁ᵀ and P₂·Q₂ᵀ is the sum of the elements of P₁ᵀ·P₂ times those of
 * Q₁ᵀ·Q₂, and these are only rank × rank.
 */
export function squaredNormOfProducts(layout: Layout, products: readonly Product[]): number {
  let sum = 0
  for (const matrix of layout.matrices) {
    const all = products.map(({ left, right }) => ({
      p: columnsOf(left, matrix.left, matrix.rows, matrix.rank),
      q: columnsOf(right, matrix.right, matrix.cols, matrix.rank),
    }))
    for (const a of all) {
      for (const b of all) {
        for (let k = 0; k < matrix.rank; k++) {
          for (let l = 0; l < matrix.rank; l++) {
            sum += dot(a.p[k]!, b.p[l]!) * dot(a.q[k]!, b.q[l]!)
          }
        }
      }
    }
  }
  return Math.max(0, sum) // rounding can make a zero norm slightly negative
}

/**
 * A column counts as zero when at most this fraction of its length remains. `orthonormalize` has
 * the same bound.
 */
const NEGLIGIBLE = 2 ** -20

/**
 * Subtracts from a factor the part that known products P·Qᵀ contribute to it. For 'left', factor is
 * M·by and becomes (M − Σ P·Qᵀ)·by; for 'right', factor is Mᵀ·by and becomes (M − Σ P·Qᵀ)ᵀ·by. A
 * column becomes zero if at most 2⁻²⁰ of its length remains, which is no more than the rounding of
 * the factor.
 *
 * @param side  of the factor: 'left' for M·by, 'right' for Mᵀ·by
 * @param factor  an arena of that side; changed in place
 * @param by  the factor that M was multiplied by: an arena of the other side; only read
 * @param products  the products P·Qᵀ; only read
 */
export function deduct(
  layout: Layout,
  side: Side,
  factor: Float32Array,
  by: Float32Array,
  products: readonly Product[],
): void {
  for (const matrix of layout.matrices) {
    const { rows, cols, rank } = matrix
    const [length, across] = side === 'left' ? [rows, cols] : [cols, rows]
    const [at, acrossAt] =
      side === 'left' ? [matrix.left, matrix.right] : [matrix.right, matrix.left]
    const multipliers = columnsOf(by, acrossAt, across, rank)
    for (const [k, column] of columnsOf(factor, at, length, rank).entries()) {
      const rest = Float64Array.from(column)
      for (const { left, right } of products) {
        const [along, other] = side === 'left' ? [left, right] : [right, left]
        const parts = columnsOf(other, acrossAt, across, rank)
        for (const [l, direction] of columnsOf(along, at, length, rank).entries()) {
          const amount = dot(parts[l]!, multipliers[k]!)
          for (let i = 0; i < length; i++) rest[i] = rest[i]! - amount * direction[i]!
        }
      }
      if (dot(rest, rest) <= NEGLIGIBLE ** 2 * dot(column, column)) rest.fill(0)
      column.set(rest)
    }
  }
}

/**
 * The columns of one factor in an arena, as views.
 *
 * @param at  where the factor begins in the arena, in floats
 * @param length  floats in a column: rows of a left factor, cols of a right one
 */
export function columnsOf(
  arena: Float32Array,
  at: number,
  length: number,
  rank: number,
): Float32Array[] {
  return Array.from({ length: rank }, (_, k) =>
    arena.subarray(at + k * length, at + (k + 1) * length),
  )
}

/** x·y, summed in float64 in ascending order of the elements. y is at least as long as x. */
export function dot(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!
  return sum
}

/** Σ x², summed in float64 in ascending order of the elements. */
export function squaredNorm(x: Float32Array): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * x[i]!
  return sum
}
