// Textbook decompositions of one matrix, by the kernels of any backend.
import { eigen } from './eigen.ts'
import { integer, show } from './options.ts'
import type { Dims, Kernels } from './seam.ts'

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

/** A = q·r */
export interface Qr {
  /** rows × cols by column: orthonormal */
  readonly q: Float32Array
  /** cols × cols by row: upper triangular, its diagonal ≥ 0 */
  readonly r: Float32Array
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

/** Of the generator's key, as a compressor's host uses it. */
const USE = { right: 0, replacedLeft: 2, replacedRight: 3, nextAttempt: 4 } as const

/**
 * A singular value is zero if it is at most this part of ‖A‖: what a column is dependent by in
 * `orthonormalize`, and 16 times what rounding a product to float32 leaves in place of a zero.
 */
const NEGLIGIBLE = 2 ** -20

/**
 * Thin QR decomposition by Gram–Schmidt, each column projected twice (Golub & Van Loan, "Matrix
 * Computations", 4th ed., §5.2.7 f.). R = Qᵀ·A is summed in float64.
 *
 * A column that depends on those before it (2⁻²⁰ of its length, or less, is left) has 0 on R's
 * diagonal and a seeded column in Q, orthogonal to all others.
 *
 * @param a  rows × cols by row, rows ≥ cols; only read
 * @param options.seed  of the columns that replace dependent ones. Default 0.
 * @throws RangeError, TypeError  naming the argument; also if A is not finite, or ‖A‖ ≥ 2¹²⁷
 */
export async function qr(
  kernels: Kernels,
  a: Float32Array,
  rows: number,
  cols: number,
  { seed = 0 }: { readonly seed?: number } = {},
): Promise<Qr> {
  await normOf(kernels, a, rows, cols)
  integer('cols', cols, 1, rows)
  integer('seed', seed, 0, 0xffffffff)
  const columns = transposed(a, rows, cols)
  const q = columns.slice()
  const replaced = await basis(kernels, q, rows, cols, 0, seed, USE.replacedLeft)
  const r = new Float32Array(cols * cols)
  for (let j = 0; j < cols; j++) {
    for (let i = 0; i <= j; i++) {
      if (i === j && replaced.has(j)) continue
      r[i * cols + j] = dot(column(q, i, rows), column(columns, j, rows))
    }
  }
  return { q, r }
}

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
    const x = column(u, k, rows)
    const y = column(v, k, cols)
    await kernels.normal(y, seed, USE.right, 0, k, 0)
    let squared = 0
    for (let turn = 0; turn < iterations; turn++) {
      await basis(kernels, v, cols, k + 1, k, seed, USE.replacedRight)
      await kernels.project(x, a, y, dims)
      await basis(kernels, u, rows, k + 1, k, seed, USE.replacedLeft)
      await kernels.backproject(y, a, x, dims)
      const former = squared
      squared = await kernels.norm(y)
      if (settled(former, squared, tolerance)) break
    }
    if (Math.sqrt(squared) <= least) {
      u.fill(0, k * rows)
      v.fill(0, k * cols)
      await basis(kernels, u, rows, components, k, seed, USE.replacedLeft)
      await basis(kernels, v, cols, components, k, seed, USE.replacedRight)
      break
    }
    s[k] = Math.sqrt(squared)
    await basis(kernels, v, cols, k + 1, k, seed, USE.replacedRight)
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
      await kernels.normal(column(q, k, cols), seed, USE.right, 0, k, 0)
    }
  } else {
    floats('start', start, cols * rank)
    if (!Number.isFinite(await kernels.norm(start))) {
      throw new RangeError('"start": expected finite numbers only')
    }
    q.set(start)
  }
  let squared = 0
  for (let turn = 0; turn < iterations; turn++) {
    await basis(kernels, q, cols, rank, 0, seed, USE.replacedRight)
    await kernels.project(p, a, q, dims)
    await basis(kernels, p, rows, rank, 0, seed, USE.replacedLeft)
    await kernels.backproject(q, a, p, dims)
    const former = squared
    squared = await kernels.norm(q)
    if (settled(former, squared, tolerance)) break
  }
  return { p, q }
}

/**
 * Truncated singular value decomposition: orthogonal iteration with a few columns more than asked
 * for, then Rayleigh–Ritz in float64 (Halko, Martinsson & Tropp, 2011, §5.1; Golub & Van Loan,
 * §8.1.4 and §8.5).
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
      gram[i * n + j] = dot(column(q, i, cols), column(q, j, cols))
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
  await basis(kernels, v, cols, rank, found, checked(iteration).seed, USE.replacedRight)
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

/**
 * Makes the columns from `from` on orthonormal, and orthogonal to those before. Zero and dependent
 * ones are replaced by seeded ones.
 *
 * @returns the numbers of those that were replaced
 */
async function basis(
  kernels: Kernels,
  columns: Float32Array,
  length: number,
  rank: number,
  from: number,
  seed: number,
  use: number,
): Promise<Set<number>> {
  const replaced = new Set<number>()
  let attempt = 0
  for (let k = from; ; ) {
    k = await kernels.orthonormalize(columns, length, rank, k)
    if (k >= rank) return replaced
    attempt = replaced.has(k) ? attempt + 1 : 0
    replaced.add(k)
    await kernels.normal(column(columns, k, length), seed, use + USE.nextAttempt * attempt, 0, k, 0)
  }
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

/** ‖A‖ (Frobenius), after a check of A and its shape. */
async function normOf(
  kernels: Kernels,
  a: Float32Array,
  rows: number,
  cols: number,
): Promise<number> {
  integer('rows', rows, 1, 0x7fffffff)
  integer('cols', cols, 1, 0x7fffffff)
  floats('a', a, rows * cols)
  const norm = Math.sqrt(await kernels.norm(a))
  // No product with orthonormal columns, nor any part of its sums, is larger: so none overflows.
  if (norm < 2 ** 127) return norm
  throw new RangeError(`"a": expected finite numbers of a norm below 2^127, got a norm of ${norm}`)
}

function floats(name: string, array: unknown, length: number): void {
  if (!(array instanceof Float32Array)) {
    throw new TypeError(`"${name}": expected a Float32Array, got ${show(array)}`)
  }
  if (array.length !== length) {
    throw new RangeError(`"${name}": expected ${length} floats, got ${array.length}`)
  }
}

/** By row to by column. */
function transposed(a: Float32Array, rows: number, cols: number): Float32Array {
  const columns = new Float32Array(a.length)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) columns[j * rows + i] = a[i * cols + j]!
  }
  return columns
}

function column(columns: Float32Array, k: number, length: number): Float32Array {
  return columns.subarray(k * length, (k + 1) * length)
}

function dot(x: Float32Array, y: Float32Array): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!
  return sum
}
