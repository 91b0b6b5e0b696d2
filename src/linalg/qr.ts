// Orthonormal bases of columns, and the QR decomposition made of one.

import type { Kernels } from '../backend.ts'
import type { Floats } from '../bytes.ts'
import { integer, isFloats, knownOptions, wrongType } from '../validate.ts'
import { dot } from './products.ts'

/** A thin QR decomposition: A = q·r. */
export interface Qr {
  /** rows × cols by column: orthonormal */
  readonly q: Floats
  /** cols × cols by row: upper triangular, with a diagonal ≥ 0 */
  readonly r: Floats
}

/**
 * Thin QR decomposition by Gram–Schmidt, with every column projected twice (Golub & Van Loan,
 * "Matrix Computations", 4th ed., §5.2.7 f.). R = Qᵀ·A is summed in float64.
 *
 * A column depends on those before it if at most 2⁻²⁰ of its length remains after the projection.
 * Such a column has 0 on the diagonal of R, and in Q a seeded column that is orthogonal to all
 * others.
 *
 * @param a  the matrix A: rows × cols by row, rows ≥ cols; finite; only read
 * @param options.seed  of the columns that replace dependent ones. Default 0.
 * @throws TypeError, RangeError  naming the argument; also if A is not finite or ‖A‖ ≥ 2¹²⁷
 */
export async function qr(
  kernels: Kernels,
  a: Float32Array,
  rows: number,
  cols: number,
  options: { readonly seed?: number } = {},
): Promise<Qr> {
  const { seed = 0 } = knownOptions(options, ['seed'])
  await normOf(kernels, a, rows, cols)
  integer('cols', cols, 1, rows)
  integer('seed', seed, 0, 0xffffffff)
  const columns = transposed(a, rows, cols)
  const q = columns.slice()
  const replaced = await completeBasis(kernels, q, rows, cols, 0, seed, USE.replacedLeft)
  const r = new Float32Array(cols * cols)
  for (let j = 0; j < cols; j++) {
    for (let i = 0; i <= j; i++) {
      if (i === j && replaced.has(j)) continue
      r[i * cols + j] = dot(columnAt(q, i, rows), columnAt(columns, j, rows))
    }
  }
  return { q, r }
}

/**
 * Uses of random numbers, the second word of the generator's key. They are those of the host
 * (src/backends/wasm/host.ts).
 */
export const USE = { right: 0, replacedLeft: 2, replacedRight: 3, nextAttempt: 4 } as const

/**
 * Makes the columns numbered `from` and up orthonormal, and orthogonal to those before them, which
 * must already be orthonormal. Zero and dependent columns are replaced by seeded ones.
 *
 * @param columns  length × rank, by column; changed in place
 * @param use  of the random numbers for replaced columns
 * @returns the numbers of the columns that were replaced
 */
export async function completeBasis(
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
    await kernels.normal(
      columnAt(columns, k, length),
      seed,
      use + USE.nextAttempt * attempt,
      0,
      k,
      0,
    )
  }
}

/**
 * The Frobenius norm ‖A‖.
 *
 * @param a  the matrix A: rows × cols, by row; only read
 * @throws TypeError, RangeError  unless rows, cols and the length of `a` fit, and ‖A‖ is below 2¹²⁷
 */
export async function normOf(
  kernels: Kernels,
  a: Float32Array,
  rows: number,
  cols: number,
): Promise<number> {
  if (typeof kernels?.norm !== 'function') {
    throw wrongType('kernels', 'kernels, `reference` say', kernels)
  }
  integer('rows', rows, 1, 0x7fffffff)
  integer('cols', cols, 1, 0x7fffffff)
  checkedFloats('a', a, rows * cols)
  const norm = Math.sqrt(await kernels.norm(a))
  // No product of A with orthonormal columns, and no partial sum of one, exceeds ‖A‖. So below this
  // bound nothing overflows.
  if (norm < 2 ** 127) return norm
  throw new RangeError(`"a": expected finite numbers of a norm below 2^127, got a norm of ${norm}`)
}

/** @throws TypeError, RangeError  unless `array` is a Float32Array of this length */
export function checkedFloats(name: string, array: unknown, length: number): void {
  if (!isFloats(array)) throw wrongType(name, 'a Float32Array', array)
  if (array.length !== length) {
    throw new RangeError(`"${name}": expected ${length} floats, got ${array.length}`)
  }
}

/** Copies a rows × cols matrix stored by row into one stored by column. */
function transposed(a: Float32Array, rows: number, cols: number): Floats {
  const columns = new Float32Array(a.length)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) columns[j * rows + i] = a[i * cols + j]!
  }
  return columns
}

/** Column k of a matrix stored by column with `length` rows, as a view. */
export function columnAt(columns: Float32Array, k: number, length: number): Float32Array {
  return columns.subarray(k * length, (k + 1) * length)
}
