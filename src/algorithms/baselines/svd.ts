// The best approximation of a matrix by one of low rank, in float64 JavaScript and synchronous.
// `svd` of lowrank/kernels is faster, but it awaits its backend.

import { eigen } from '../../linalg/eigen.ts'
import { philox } from '../../linalg/philox.ts'
import { dot, squaredNorm } from '../../linalg/products.ts'

/**
 * Additional columns of a block: they cost little, and the last singular vectors converge sooner.
 */
const OVERSAMPLING = 2

/**
 * The iteration has converged when the last third of the basis has added at most this fraction to
 * the captured Σ σ².
 */
const TOLERANCE = 2 ** -40

/** The fraction of ‖A‖² that float64 cannot tell from rounding errors. */
const NEGLIGIBLE = 2 ** -46

/**
 * Computes the best factors: p·qᵀ is the truncated singular value decomposition of A, up to the
 * rounding of float32. The columns of p and q are the singular vectors times √σ, and zero where σ
 * is. So the elements of neither are much larger or smaller than those of A, which suits every wire
 * type.
 *
 * Where the next σ is as large, a singular vector may not have converged. p·qᵀ is then still a
 * projection of A, as close to A as the best one up to `TOLERANCE`.
 *
 * @param a  A: rows × cols, by row; finite; only read
 * @param p  out: rows × rank, by column
 * @param q  out: cols × rank, by column
 */
export function bestFactors(
  a: Float32Array,
  rows: number,
  cols: number,
  rank: number,
  p: Float32Array,
  q: Float32Array,
): void {
  // y are singular vectors of the shorter side. Products of A with them are σ times those of the
  // other side.
  const wide = rows <= cols
  const [short, long] = wide ? [p, q] : [q, p]
  for (const [k, y] of leadingVectors(a, rows, cols, rank).entries()) {
    const [z] = wide ? timesTransposed(a, rows, cols, [y]) : times(a, rows, cols, [y])
    const root = Math.sqrt(Math.sqrt(dot(z!, z!)))
    for (let i = 0; i < y.length; i++) short[k * y.length + i] = root * y[i]!
    const scale = root > 0 ? 1 / root : 0
    for (let i = 0; i < z!.length; i++) long[k * z!.length + i] = scale * z![i]!
  }
}

/**
 * Computes orthonormal eigenvectors of G = A·Aᵀ, or of Aᵀ·A if that is smaller, for its `rank`
 * largest eigenvalues. It is a Rayleigh–Ritz method on a block Krylov space, span [X, G·X, G²·X, …]
 * for random X (Musco & Musco, "Randomized block Krylov methods", 2015, algorithm 2), with a basis
 * that is kept orthonormal. The blocks are at least as wide as the rank, so no repeated eigenvalue
 * is missed.
 */
function leadingVectors(a: Float32Array, rows: number, cols: number, rank: number): Float64Array[] {
  const n = Math.min(rows, cols)
  const gram = (x: readonly Float64Array[]) =>
    rows <= cols
      ? times(a, rows, cols, timesTransposed(a, rows, cols, x))
      : timesTransposed(a, rows, cols, times(a, rows, cols, x))
  const size = squaredNorm(a)
  const basis: Float64Array[] = []
  const images: Float64Array[] = [] // G times each vector of the basis
  let block = Array.from({ length: Math.min(rank + OVERSAMPLING, n) }, (_, k) => random(n, k))
  let least = NEGLIGIBLE // for the first block: random vectors have a length of about √(n/3)
  let captured = 0
  for (let next = 3 * block.length; ; ) {
    const before = basis.length
    for (const column of block) extend(basis, column, least)
    const added = basis.slice(before)
    const whole = added.length === 0 || basis.length === n
    images.push(...gram(added))
    if (whole || basis.length >= next) {
      const { values, vectors } = eigen(projectedGram(basis, images), basis.length)
      const previous = captured
      captured = values.subarray(0, rank).reduce((sum, value) => sum + value, 0)
      if (whole || captured - previous <= TOLERANCE * captured) {
        return Array.from({ length: rank }, (_, k) =>
          combination(basis, vectors.subarray(k * basis.length, (k + 1) * basis.length)),
        )
      }
      next = Math.ceil(1.5 * basis.length)
    }
    block = images.slice(before).map((image) => image.slice())
    least = NEGLIGIBLE * size
  }
}

/**
 * Adds a vector to an orthonormal basis: the part of it that is orthogonal to the basis, divided by
 * its length. It is not added if that part is no longer than `least`.
 *
 * @param column  the vector; overwritten
 */
function extend(basis: Float64Array[], column: Float64Array, least: number): void {
  if (basis.length === column.length) return
  for (let pass = 0; pass < 2; pass++) {
    for (const other of basis) add(column, other, -dot(other, column))
  }
  const length = Math.sqrt(dot(column, column))
  if (length > least) basis.push(column.map((x) => x / length))
}

/**
 * Vᵀ·G·V for a basis V, d × d, symmetric to the bit.
 *
 * @param images  G times each vector of the basis
 */
function projectedGram(
  basis: readonly Float64Array[],
  images: readonly Float64Array[],
): Float64Array {
  const d = basis.length
  const result = new Float64Array(d * d)
  for (let i = 0; i < d; i++) {
    for (let j = 0; j <= i; j++) {
      result[i * d + j] = dot(basis[i]!, images[j]!)
      result[j * d + i] = result[i * d + j]!
    }
  }
  return result
}

/** Σ weights[i] · basis[i]. */
function combination(basis: readonly Float64Array[], weights: Float64Array): Float64Array {
  const sum = new Float64Array(basis[0]!.length)
  for (const [i, column] of basis.entries()) add(sum, column, weights[i]!)
  return sum
}

/**
 * A·X, in float64.
 *
 * @param x  the columns of X, cols elements each
 * @returns the columns of the product, rows elements each
 */
function times(a: Float32Array, rows: number, cols: number, x: readonly Float64Array[]) {
  const products = x.map(() => new Float64Array(rows))
  for (let i = 0; i < rows; i++) {
    const row = a.subarray(i * cols, (i + 1) * cols)
    for (const [k, column] of x.entries()) products[k]![i] = dot(row, column)
  }
  return products
}

/**
 * Aᵀ·X, in float64.
 *
 * @param x  the columns of X, rows elements each
 * @returns the columns of the product, cols elements each
 */
function timesTransposed(a: Float32Array, rows: number, cols: number, x: readonly Float64Array[]) {
  const products = x.map(() => new Float64Array(cols))
  for (let i = 0; i < rows; i++) {
    const row = a.subarray(i * cols, (i + 1) * cols)
    for (const [k, column] of x.entries()) add(products[k]!, row, column[i]!)
  }
  return products
}

/**
 * A seeded random vector with elements from −1 to 1.
 *
 * @param column  its number in the block
 */
function random(length: number, column: number): Float64Array {
  let words: readonly number[] = []
  return Float64Array.from({ length }, (_, i) => {
    if (i % 4 === 0) words = philox([i / 4, column, 0, 0], [0, 0])
    return words[i % 4]! / 2 ** 31 - 1
  })
}

/** y ← y + factor · x */
function add(y: Float64Array, x: ArrayLike<number>, factor: number): void {
  for (let i = 0; i < y.length; i++) y[i] = y[i]! + factor * x[i]!
}
