// Sums of products P·Qᵀ by their factors alone: in float64, in a fixed order, so with the same bits
// everywhere.
import type { Layout, Side } from '../backend.ts'

/** P·Qᵀ for every matrix of a plan. */
export interface Product {
  /** P, a left arena */
  readonly left: Float32Array
  /** Q, a right arena */
  readonly right: Float32Array
}

/** ‖Σ P·Qᵀ‖² over all matrices, of r × r products of factors. */
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
  return Math.max(0, sum) // rounding must not make a square negative
}

/** What is left of a column counts as zero if it is this part of its length, or less: as in a basis. */
const NOTHING = 2 ** -20

/**
 * Makes of M·Q, or Mᵀ·P, what it would be had these products been taken from M before. Columns of
 * which no more is left than M·Q was rounded to become zero.
 *
 * @param side  which factor it is: 'left', M·Q
 * @param factor  an arena of that side; in place
 * @param by  what M was multiplied by: an arena of the other side
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
    const given = columnsOf(by, acrossAt, across, rank)
    for (const [k, column] of columnsOf(factor, at, length, rank).entries()) {
      const rest = Float64Array.from(column)
      for (const { left, right } of products) {
        const [along, other] = side === 'left' ? [left, right] : [right, left]
        const parts = columnsOf(other, acrossAt, across, rank)
        for (const [l, direction] of columnsOf(along, at, length, rank).entries()) {
          const amount = dot(parts[l]!, given[k]!)
          for (let i = 0; i < length; i++) rest[i] = rest[i]! - amount * direction[i]!
        }
      }
      if (dot(rest, rest) <= NOTHING ** 2 * dot(column, column)) rest.fill(0)
      column.set(rest)
    }
  }
}

/** The columns of one factor in an arena. */
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

export function dot(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!
  return sum
}

/** Σ x² in float64, in order */
export function squaredNorm(x: Float32Array): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * x[i]!
  return sum
}
