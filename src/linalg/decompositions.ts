// Singular value decompositions of one matrix by power iteration, on the kernels of any backend.

import type { Dims, Kernels } from '../backend.ts'
import type { Floats } from '../bytes.ts'
import { integer, knownOptions, number } from '../validate.ts'
import { eigen } from './eigen.ts'
import { dot } from './products.ts'
import { checkedFloats, columnAt, completeBasis, normOf, USE } from './qr.ts'

/** When an iteration stops, and the seed that it starts from. */
export interface Iteration {
  /** The maximum number of iterations; each multiplies once by A and once by Aᵀ. Default 100. */
  readonly iterations?: number
  /**
   * The iteration stops when ‖Aᵀ·P‖², the part of ‖A‖² that P captures, changes by at most this
   * fraction of itself. 0 runs all iterations. The angle to the limit decreases with the square
   * root of the tolerance. Default 1e-9, about the change that rounding alone causes.
   */
  readonly tolerance?: number
  /** Seed of the starting vectors, and of vectors that replace dependent ones. Default 0. */
  readonly seed?: number
}

const ITERATION = ['iterations', 'tolerance', 'seed']

/** A truncated singular value decomposition: A ≈ u·diag(s)·vᵀ. */
export interface Svd {
  /** rows × rank by column: orthonormal */
  readonly u: Floats
  /** rank singular values, each ≥ 0 */
  readonly s: Float64Array
  /** cols × rank by column: orthonormal */
  readonly v: Floats
}

/**
 * Singular values up to this fraction of ‖A‖ count as zero. `orthonormalize` calls a column
 * dependent at the same fraction of its length. It is 16 times the error that rounding a product to
 * float32 leaves in place of an exact zero.
 */
const NEGLIGIBLE = 2 ** -20

/**
 * Computes singular triplets one after another, by the power method on Aᵀ·A. Each vector is kept
 * orthogonal to those found before (Golub & Van Loan, "Matrix Computations", 4th ed., §8.2.1 and
 * §8.2.4). Where singular values are close together it converges slowly, and is then neither
 * accurate nor in order. `svd` is better in everything but simplicity.
 *
 * @param a  the matrix A: rows × cols, by row; finite; only read
 * @param options.components  the number of triplets, at most min(rows, cols). Default 1.
 * @returns s in the order found. From the first value that is at most 2⁻²⁰·‖A‖, the rest of s is
 *   exactly 0, and the matching columns of u and v are seeded vectors orthogonal to the others.
 * @throws TypeError, RangeError  naming the argument; also if A is not finite or ‖A‖ ≥ 2¹²⁷
 */
export async function powerIteration(
  kernels: Kernels,
  a: Float32Array,
  rows: number,
  cols: number,
  options: Iteration & { readonly components?: number } = {},
): Promise<Svd> {
  const { components = 1 } = knownOptions(options, [...ITERATION, 'components'])
  const least = NEGLIGIBLE * (await normOf(kernels, a, rows, cols))
  integer('components', components, 1, Math.min(rows, cols))
  const { iterations, tolerance, seed } = checked(options)
  const dims = { rows, cols, rank: 1 }
  const u = new Float32Array(rows * components)
  const v = new Float32Array(cols * components)
  const s = new Float64Array(components)
  for (let k = 0; k < components; k++) {
    const x = columnAt(u, k, rows)
    const y = columnAt(v, k, cols)
    await kernels.normal(y, seed, USE.right, 0, k, 0)
    let squared = 0
    for (let count = 0; count < iterations; count++) {
      await completeBasis(kernels, v, cols, k + 1, k, seed, USE.replacedRight)
      await kernels.project(x, a, y, dims)
      await completeBasis(kernels, u, rows, k + 1, k, seed, USE.replacedLeft)
      await kernels.backproject(y, a, x, dims)
      const previous = squared
      squared = await kernels.norm(y)
      if (hasConverged(previous, squared, tolerance)) break
    }
    if (Math.sqrt(squared) <= least) {
      u.fill(0, k * rows)
      v.fill(0, k * cols)
      await completeBasis(kernels, u, rows, components, k, seed, USE.replacedLeft)
      await completeBasis(kernels, v, cols, components, k, seed, USE.replacedRight)
      break
    }
    s[k] = Math.sqrt(squared)
    await completeBasis(kernels, v, cols, k + 1, k, seed, USE.replacedRight)
  }
  return { u, s, v }
}

/**
 * Orthogonal iteration, the power method on a block of vectors: Q ← orth(Aᵀ·P), P ← orth(A·Q)
 * (Golub & Van Loan, §8.2.4; Halko, Martinsson & Tropp, "Finding structure with randomness", 2011,
 * algorithm 4.4). A step of PowerSGD is one iteration of it.
 *
 * @param a  the matrix A: rows × cols, by row; finite; only read
 * @param rank  of the approximation, at most min(rows, cols)
 * @param options.start  the first Q, cols × rank by column; only read. Default: seeded normals.
 * @returns p: rows × rank by column, orthonormal; q = Aᵀ·p: cols × rank by column. p·qᵀ is the best
 *   approximation of A within the span of p. The columns are in no particular order.
 * @throws TypeError, RangeError  naming the argument; also if A is not finite or ‖A‖ ≥ 2¹²⁷
 */
export async function orthogonalIteration(
  kernels: Kernels,
  a: Float32Array,
  rows: number,
  cols: number,
  rank: number,
  options: Iteration & { readonly start?: Float32Array } = {},
): Promise<{ readonly p: Floats; readonly q: Floats }> {
  const { start } = knownOptions(options, [...ITERATION, 'start'])
  await normOf(kernels, a, rows, cols)
  integer('rank', rank, 1, Math.min(rows, cols))
  const { iterations, tolerance, seed } = checked(options)
  const dims: Dims = { rows, cols, rank }
  const p = new Float32Array(rows * rank)
  const q = new Float32Array(cols * rank)
  if (start === undefined) {
    for (let k = 0; k < rank; k++) {
      await kernels.normal(columnAt(q, k, cols), seed, USE.right, 0, k, 0)
    }
  } else {
    checkedFloats('start', start, cols * rank)
    if (!Number.isFinite(await kernels.norm(start))) {
      throw new RangeError('"start": expected finite numbers only')
    }
    q.set(start)
  }
  let squared = 0
  for (let count = 0; count < iterations; count++) {
    await completeBasis(kernels, q, cols, rank, 0, seed, USE.replacedRight)
    await kernels.project(p, a, q, dims)
    await completeBasis(kernels, p, rows, rank, 0, seed, USE.replacedLeft)
    await kernels.backproject(q, a, p, dims)
    const previous = squared
    squared = await kernels.norm(q)
    if (hasConverged(previous, squared, tolerance)) break
  }
  return { p, q }
}

/**
 * Truncated singular value decomposition: orthogonal iteration with a few more columns than `rank`,
 * then a Rayleigh–Ritz step in float64 (Halko, Martinsson & Tropp, 2011, §5.1).
 *
 * @param a  the matrix A: rows × cols, by row; finite; only read
 * @param rank  the number of triplets, at most min(rows, cols)
 * @param options.oversampling  additional columns: more of them need fewer iterations. Default 8.
 * @returns s in descending order. Values that are at most 2⁻²⁰·‖A‖ become exactly 0; the matching
 *   columns of u and v are arbitrary, but orthogonal to the others.
 * @throws TypeError, RangeError  naming the argument; also if A is not finite or ‖A‖ ≥ 2¹²⁷
 */
export async function svd(
  kernels: Kernels,
  a: Float32Array,
  rows: number,
  cols: number,
  rank: number,
  options: Iteration & { readonly oversampling?: number } = {},
): Promise<Svd> {
  const { oversampling = 8, ...iteration } = knownOptions(options, [...ITERATION, 'oversampling'])
  const least = NEGLIGIBLE * (await normOf(kernels, a, rows, cols))
  integer('rank', rank, 1, Math.min(rows, cols))
  integer('oversampling', oversampling, 0, 0xffff)
  const n = Math.min(rank + oversampling, rows, cols)
  const { p, q } = await orthogonalIteration(kernels, a, rows, cols, n, iteration)

  // A ≈ p·qᵀ, and qᵀ·q = W·Λ·Wᵀ: so u = p·W, s = √Λ, v = q·W/s.
  const gram = new Float64Array(n * n)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      gram[i * n + j] = dot(columnAt(q, i, cols), columnAt(q, j, cols))
      gram[j * n + i] = gram[i * n + j]!
    }
  }
  const { values, vectors } = eigen(gram, n)
  const all = Float64Array.from(values.subarray(0, rank), (value) => Math.sqrt(Math.max(value, 0)))
  const s = all.map((value) => (value > least ? value : 0))
  const u = combine(p, rows, vectors, n, new Float64Array(rank).fill(1))
  const v = combine(
    q,
    cols,
    vectors,
    n,
    s.map((value) => (value > 0 ? 1 / value : 0)),
  )
  const nonzero = s.filter((value) => value > 0).length
  await completeBasis(kernels, v, cols, rank, nonzero, checked(iteration).seed, USE.replacedRight)
  return { u, s, v }
}

/**
 * columns · W · diag(scales), summed in float64.
 *
 * @param columns  length × n, by column
 * @param w  n × n, by column; only its first scales.length columns are used
 * @returns length × scales.length, by column
 */
function combine(
  columns: Float32Array,
  length: number,
  w: Float64Array,
  n: number,
  scales: Float64Array,
): Floats {
  const result = new Float32Array(length * scales.length)
  for (const [k, scale] of scales.entries()) {
    for (let i = 0; i < length; i++) {
      let sum = 0
      for (let j = 0; j < n; j++) sum += columns[j * length + i]! * w[k * n + j]!
      result[k * length + i] = scale * sum
    }
  }
  return result
}

/** Whether ‖Aᵀ·P‖² changed by at most `tolerance` of itself; never if the tolerance is 0. */
function hasConverged(previous: number, current: number, tolerance: number): boolean {
  return tolerance > 0 && Math.abs(current - previous) <= tolerance * current
}

/**
 * Fills in the defaults.
 *
 * @throws RangeError  naming the option
 */
function checked({ iterations = 100, tolerance = 1e-9, seed = 0 }: Iteration): Required<Iteration> {
  integer('iterations', iterations, 1, 0xffffffff)
  number('tolerance', tolerance, 'a number ≥ 0', (x) => x >= 0)
  integer('seed', seed, 0, 0xffffffff)
  return { iterations, tolerance, seed }
}
