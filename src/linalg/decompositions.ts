// Singular values and vectors of one matrix by iteration, on the kernels of any backend.

import type { Dims, Kernels } from '../backend.ts'
import { integer, show } from '../validate.ts'
import { eigen } from './eigen.ts'
import { checkedFloats, columnAt, completeBasis, dot, normOf, USE } from './qr.ts'

/** How long an iteration goes on. */
export interface Iteration {
  /** At most so many, each a product with A and one with Aᵀ. Default 100. */
  readonly iterations?: number
  /**
   * It ends when ‖Aᵀ·P‖², the part of ‖A‖² that has been caught, changes by no more than this part
   * of itself; 0: after all iterations. The angle to what it converges to goes with the square
   * root. Default 1e-9, about what rounding changes.
   */
  readonly tolerance?: number
  /** Of the first vectors and of those that replace dependent ones. Default 0. */
  readonly seed?: number
}

/** A ≈ u·diag(s)·vᵀ */
export interface Svd {
  /** rows × rank by column: orthonormal */
  readonly u: Float32Array
  /** rank singular values ≥ 0 */
  readonly s: Float64Array
  /** cols × rank by column: orthonormal */
  readonly v: Float32Array
}

/**
 * A singular value is zero if it is at most this part of ‖A‖: what a column is dependent by in
 * `orthonormalize`, and 16 times what rounding a product to float32 leaves in place of a zero.
 */
const NEGLIGIBLE = 2 ** -20

/**
 * Singular triplets one after another by the power method on Aᵀ·A, each kept orthogonal to those
 * found before (Golub & Van Loan, §8.2.1 and §8.2.4). Slow where singular values are close, and
 * then neither accurate nor in order: `svd` is better in all but simplicity.
 *
 * @param a  rows × cols by row; only read
 * @param options.components  how many; at most min(rows, cols). Default 1.
 * @returns s in the order found, exact zeros from the first one on that is at most 2⁻²⁰·‖A‖; their
 *   u and v are seeded, orthogonal to the rest
 * @throws RangeError, TypeError  naming the argument; also if A is not finite, or ‖A‖ ≥ 2¹²⁷
 */
export async function powerIteration(
  kernels: Kernels,
  a: Float32Array,
  rows: number,
  cols: number,
  { components = 1, ...iteration }: Iteration & { readonly components?: number } = {},
): Promise<Svd> {
  const least = NEGLIGIBLE * (await normOf(kernels, a, rows, cols))
  integer('components', components, 1, Math.min(rows, cols))
  const { iterations, tolerance, seed } = checked(iteration)
  const dims = { rows, cols, rank: 1 }
  const u = new Float32Array(rows * components)
  const v = new Float32Array(cols * components)
  const s = new Float64Array(components)
  for (let k = 0; k < components; k++) {
    const x = columnAt(u, k, rows)
    const y = columnAt(v, k, cols)
    await kernels.normal(y, seed, USE.right, 0, k, 0)
    let squared = 0
    for (let turn = 0; turn < iterations; turn++) {
      await completeBasis(kernels, v, cols, k + 1, k, seed, USE.replacedRight)
      await kernels.project(x, a, y, dims)
      await completeBasis(kernels, u, rows, k + 1, k, seed, USE.replacedLeft)
      await kernels.backproject(y, a, x, dims)
      const former = squared
      squared = await kernels.norm(y)
      if (settled(former, squared, tolerance)) break
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
 * Orthogonal iteration, the power method on a block: Q ← orth(Aᵀ·P), P ← orth(A·Q) (Golub & Van
 * Loan, §8.2.4; Halko, Martinsson & Tropp, "Finding structure with randomness", 2011, algorithm
 * 4.4). A step of PowerSGD is one turn of it.
 *
 * @param a  rows × cols by row; only read
 * @param rank  of the approximation; at most min(rows, cols)
 * @param options.start  the first Q, cols × rank by column, in place of seeded normals; only read
 * @returns p: rows × rank by column, orthonormal; q = Aᵀ·p: cols × rank by column. p·qᵀ is the best
 *   approximation of A within the span of p; columns are in no order
 * @throws RangeError, TypeError  naming the argument; also if A is not finite, or ‖A‖ ≥ 2¹²⁷
 */
export async function orthogonalIteration(
  kernels: Kernels,
  a: Float32Array,
  rows: number,
  cols: number,
  rank: number,
  { start, ...iteration }: Iteration & { readonly start?: Float32Array } = {},
): Promise<{ readonly p: Float32Array; readonly q: Float32Array }> {
  await normOf(kernels, a, rows, cols)
  integer('rank', rank, 1, Math.min(rows, cols))
  const { iterations, tolerance, seed } = checked(iteration)
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
  for (let turn = 0; turn < iterations; turn++) {
    await completeBasis(kernels, q, cols, rank, 0, seed, USE.replacedRight)
    await kernels.project(p, a, q, dims)
    await completeBasis(kernels, p, rows, rank, 0, seed, USE.replacedLeft)
    await kernels.backproject(q, a, p, dims)
    const former = squared
    squared = await kernels.norm(q)
    if (settled(former, squared, tolerance)) break
  }
  return { p, q }
}

/**
 * Truncated singular value decomposition: orthogonal iteration with a few columns more than asked
 * for, then Rayleigh–Ritz in float64 (Halko, Martinsson & Tropp, 2011, §5.1).
 *
 * @param a  rows × cols by row; only read
 * @param rank  how many triplets; at most min(rows, cols)
 * @param options.oversampling  columns more than asked for: fewer iterations. Default 8.
 * @returns s descending, exact zeros where it is at most 2⁻²⁰·‖A‖; their u and v are orthogonal to
 *   the rest, and arbitrary
 * @throws RangeError, TypeError  naming the argument; also if A is not finite, or ‖A‖ ≥ 2¹²⁷
 */
export async function svd(
  kernels: Kernels,
  a: Float32Array,
  rows: number,
  cols: number,
  rank: number,
  { oversampling = 8, ...iteration }: Iteration & { readonly oversampling?: number } = {},
): Promise<Svd> {
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
  const u = combined(p, rows, vectors, n, new Float64Array(rank).fill(1))
  const v = combined(
    q,
    cols,
    vectors,
    n,
    s.map((value) => (value > 0 ? 1 / value : 0)),
  )
  const found = s.filter((value) => value > 0).length
  await completeBasis(kernels, v, cols, rank, found, checked(iteration).seed, USE.replacedRight)
  return { u, s, v }
}

/** columns·W, the k-th column of W times scales[k]; sums in float64. */
function combined(
  columns: Float32Array,
  length: number,
  w: Float64Array,
  n: number,
  scales: Float64Array,
): Float32Array {
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

function settled(former: number, now: number, tolerance: number): boolean {
  return tolerance > 0 && Math.abs(now - former) <= tolerance * now
}

function checked({ iterations = 100, tolerance = 1e-9, seed = 0 }: Iteration): Required<Iteration> {
  integer('iterations', iterations, 1, 0xffffffff)
  if (typeof tolerance !== 'number' || !(tolerance >= 0)) {
    throw new RangeError(`"tolerance": expected a number ≥ 0, got ${show(tolerance)}`)
  }
  integer('seed', seed, 0, 0xffffffff)
  return { iterations, tolerance, seed }
}
