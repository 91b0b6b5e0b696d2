// The best approximation of a matrix by one of low rank, in float64 JavaScript and without promises.
// `svd` of lowrank/kernels is faster, but awaits its backend.

import { eigen } from '../../linalg/eigen.ts'
import { philox } from '../../linalg/philox.ts'
import { dot, squaredNorm } from '../../linalg/products.ts'

/** Columns of a block beyond the rank: they cost little, and bring the last ones sooner. */
const OVERSAMPLING = 2

/** It has converged when the last third of the basis has brought no more than this part of Σ σ². */
const TOLERANCE = 2 ** -40

/** Parts of ‖A‖² that float64 can no longer tell from rounding. */
const NEGLIGIBLE = 2 ** -46

/**
 * The best factors: p·qᵀ is A's truncated singular value decomposition, to the rounding of float32. Both
 * have its singular vectors times √σ: so neither is much larger or smaller than A's entries, whatever
 * wire they take. Zero where σ is.
 *
 * Where it has not converged to a singular vector, for the next σ is as large, p·qᵀ still is a
 * projection of A, as close to it as the best one to `TOLERANCE`.
 *
 * @param a  rows × cols by row; finite; only read
 * @param p  out: rows × rank by column @param q  out: cols × rank by column
 */
export function bestFactors(
  a: Float32Array,
  rows: number,
  cols: number,
  rank: number,
  p: Float32Array,
  q: Float32Array,
): void {
  // Vectors of the shorter side, and A's products with them: σ times those of the other side.
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
 * Orthonormal eigenvectors of G = A·Aᵀ (or Aᵀ·A, if that is smaller) for its largest eigenvalues: by
 * Rayleigh–Ritz on a block Krylov space, span [X, G·X, G²·X, …] for random X (Musco & Musco,
 * "Randomized block Krylov methods", 2015, algorithm 2), with a basis that is orthogonal throughout.
 * Blocks at least as wide as the rank miss no repeated eigenvalue.
 */
function leadingVectors(a: Float32Array, rows: number, cols: number, rank: number): Float64Array[] {
  const n = Math.min(rows, cols)
  const gram = (x: readonly Float64Array[]) =>
    rows <= cols
      ? times(a, rows, cols, timesTransposed(a, rows, cols, x))
      : timesTransposed(a, rows, cols, times(a, rows, cols, x))
  const size = squaredNorm(a)
  const basis: Float64Array[] = []
  const images: Float64Array[] = [] // G times those
  let block = Array.from({ length: Math.min(rank + OVERSAMPLING, n) }, (_, k) => random(n, k))
  let least = NEGLIGIBLE // of the length of random vectors
  let caught = 0
  for (let next = 3 * block.length; ; ) {
    const before = basis.length
    for (const column of block) extend(basis, column, least)
    const added = basis.slice(before)
    const whole = added.length === 0 || basis.length === n
    images.push(...gram(added))
    if (whole || basis.length >= next) {
      const { values, vectors } = eigen(projectedGram(basis, images), basis.length)
      const former = caught
      caught = values.subarray(0, rank).reduce((sum, value) => sum + value, 0)
      if (whole || caught - former <= TOLERANCE * caught) {
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

/** Adds the part of a vector that is orthogonal to the basis, unless it is no longer than `least`. */
function extend(basis: Float64Array[], column: Float64Array, least: number): void {
  if (basis.length === column.length) return
  for (let pass = 0; pass < 2; pass++) {
    for (const other of basis) add(column, other, -dot(other, column))
  }
  const length = Math.sqrt(dot(column, column))
  if (length > least) basis.push(column.map((x) => x / length))
}

/** Vᵀ·G·V, symmetric to the bit */
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

function combination(basis: readonly Float64Array[], weights: Float64Array): Float64Array {
  const sum = new Float64Array(basis[0]!.length)
  for (const [i, column] of basis.entries()) add(sum, column, weights[i]!)
  return sum
}

/** A·X, column by column */
function times(a: Float32Array, rows: number, cols: number, x: readonly Float64Array[]) {
  const products = x.map(() => new Float64Array(rows))
  for (let i = 0; i < rows; i++) {
    const row = a.subarray(i * cols, (i + 1) * cols)
    for (const [k, column] of x.entries()) products[k]![i] = dot(row, column)
  }
  return products
}

/** Aᵀ·X, column by column */
function timesTransposed(a: Float32Array, rows: number, cols: number, x: readonly Float64Array[]) {
  const products = x.map(() => new Float64Array(cols))
  for (let i = 0; i < rows; i++) {
    const row = a.subarray(i * cols, (i + 1) * cols)
    for (const [k, column] of x.entries()) add(products[k]!, row, column[i]!)
  }
  return products
}

/** A seeded vector in no particular direction. */
function random(length: number, column: number): Float64Array {
  let words: readonly number[] = []
  return Float64Array.from({ length }, (_, i) => {
    if (i % 4 === 0) words = philox([i / 4, column, 0, 0], [0, 0])
    return words[i % 4]! / 2 ** 31 - 1
  })
}

function add(y: Float64Array, x: ArrayLike<number>, factor: number): void {
  for (let i = 0; i < y.length; i++) y[i] = y[i]! + factor * x[i]!
}
