// Operands for the kernels, and checks of their results.
import { createWasmKernels, type Dims, reference, type WasmKernels } from 'lowrank/kernels'
import { hasRelaxedSimd } from './simd.ts'

/** The size of a matrix. */
export interface Size {
  readonly rows: number
  readonly cols: number
}

/** Operands in the memory of the kernels; factors have room for the highest rank. */
export interface Arrays {
  readonly on: WasmKernels
  readonly m: Float32Array
  readonly g: Float32Array
  readonly y: Float32Array
  readonly p: Float32Array
  readonly q: Float32Array
  readonly own: Float32Array
  /** outputs for products of M, so that the factors above stay small */
  readonly toLeft: Float32Array
  readonly toRight: Float32Array
  /** rows × rank, to be made orthonormal or random */
  readonly columns: Float32Array
}

/**
 * Fills small factors and gradients: M stays far from 2¹⁰⁰, though they are added to it time and
 * again.
 */
export async function createArrays({ rows, cols }: Size, rank: number): Promise<Arrays> {
  const [n, left, right] = [rows * cols, rows * rank, cols * rank]
  const on = await createWasmKernels({
    floats: 3 * n + 3 * (left + right) + 40,
    relaxed: await hasRelaxedSimd(),
  })
  const filled = (floats: number, scale: number, seed: number): Float32Array => {
    const array = on.alloc(floats)
    on.normal(array, seed, 0, 0, 0, 0)
    for (let i = 0; i < floats; i++) array[i] = array[i]! * scale
    return array
  }
  return {
    on,
    m: filled(n, 1, 1),
    g: filled(n, 1e-3, 2),
    y: filled(n, 1, 3),
    p: filled(left, 1e-3, 4),
    q: filled(right, 1e-3, 5),
    own: filled(right, 1e-3, 6),
    toLeft: on.alloc(left),
    toRight: on.alloc(right),
    columns: filled(left, 1, 7),
  }
}

/**
 * Runs every kernel once and compares some rows and columns with the reference.
 *
 * @throws Error  naming the kernel, the element and what was expected
 */
export function verify(
  { on, m, g, y, p, q, own, toLeft, toRight, columns }: Arrays,
  dims: Dims,
): void {
  const { rows, cols, rank } = dims
  const some = { rows: pick(rows), cols: pick(cols) }
  const left = p.subarray(0, rows * rank)
  const right = q.subarray(0, cols * rank)
  const ownRight = own.subarray(0, cols * rank)
  const leftOut = toLeft.subarray(0, rows * rank)
  const rightOut = toRight.subarray(0, cols * rank)
  const someLeft = gather(left, rows, rank, some.rows)

  for (const name of ['project', 'accumulateProject'] as const) {
    const before = rowsOf(m, cols, some.rows)
    const added = rowsOf(g, cols, some.rows)
    const few = { rows: some.rows.length, cols, rank }
    if (name === 'project') on.project(leftOut, m, right, dims)
    else on.accumulateProject(leftOut, m, g, right, dims)
    if (name === 'accumulateProject') reference.accumulate(before, added, 1)
    const [want, size] = twice((abs) => {
      const out = new Float32Array(few.rows * rank)
      reference.project(out, abs(before), abs(right), few)
      return out
    })
    compare(name, gather(leftOut, rows, rank, some.rows), want, size, cols)
  }

  on.backproject(rightOut, m, left, dims)
  const [products, sizes] = twice((abs) => {
    const out = new Float32Array(some.cols.length * rank)
    const few = { rows, cols: some.cols.length, rank }
    reference.backproject(out, abs(columnsOf(m, cols, some.cols)), abs(left), few)
    return out
  })
  compare('backproject', gather(rightOut, cols, rank, some.cols), products, sizes, rows)

  const few = { rows: some.rows.length, cols, rank }
  const update = (factor: Float32Array) =>
    twice((abs) => {
      const out = new Float32Array(few.rows * cols)
      reference.reconstruct(out, abs(someLeft), abs(factor), few)
      return out
    })
  const [mean, meanSize] = update(right)
  for (const name of ['reconstruct', 'residual', 'settle'] as const) {
    const before = rowsOf(m, cols, some.rows)
    const factor = name === 'residual' ? right : ownRight
    if (name === 'reconstruct') on.reconstruct(y, left, right, dims)
    if (name === 'residual') on.residual(m, left, right, dims)
    if (name === 'settle') on.settle(y, m, left, ownRight, right, dims)
    if (name !== 'residual') compare(name, rowsOf(y, cols, some.rows), mean, meanSize, rank)
    if (name === 'reconstruct') continue
    const [taken, takenSize] = update(factor)
    const want = before.map((value, i) => value - taken[i]!)
    const size = before.map((value, i) => Math.abs(value) + takenSize[i]!)
    compare(name, rowsOf(m, cols, some.rows), want, size, rank + 1)
  }

  // The norms of these columns are far from 1, so an orthonormal result shows that the kernel did
  // work.
  const basis = columns.subarray(0, rows * rank)
  on.normal(basis, 8, 0, 0, 0, 0)
  const first = new Float32Array(Math.min(64, basis.length))
  reference.normal(first, 8, 0, 0, 0, 0)
  if (first.some((value, i) => value !== basis[i])) throw new Error('normal: other bits')
  if (on.orthonormalize(basis, rows, rank) !== rank) throw new Error('orthonormalize: stopped')
  for (let j = 0; j < rank; j++) {
    for (let k = 0; k <= j; k++) {
      let product = 0
      for (let i = 0; i < rows; i++) product += basis[j * rows + i]! * basis[k * rows + i]!
      const error = Math.abs(product - (j === k ? 1 : 0))
      if (!(error <= 5e-7)) throw new Error(`orthonormalize: columns ${j}, ${k}: off by ${error}`)
    }
  }
  const [norm, exact] = [on.norm(m) as number, reference.norm(m) as number]
  if (!(Math.abs(norm - exact) <= 1e-9 * exact)) throw new Error(`norm: ${norm}, not ${exact}`)
}

/**
 * Compares within γₙ·Σ
 * x
 *
 * y
 * for sums of so many products, plus one rounding for the reference.
 */
export function compare(
  name: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  size: ArrayLike<number>,
  products: number,
): void {
  for (let i = 0; i < want.length; i++) {
    const bound = (products + 2) * 2 ** -24 * 1.001 * size[i]!
    // Written so that NaN fails.
    if (!(Math.abs(got[i]! - want[i]!) <= bound)) {
      throw new Error(
        `${name}: element ${i} of those looked at: ${got[i]}, not ${want[i]} ± ${bound}`,
      )
    }
  }
}

/** The result of `compute`, and its result on absolute values, by which errors are measured. */
export function twice(
  compute: (abs: (x: Float32Array) => Float32Array) => Float32Array,
): [want: Float32Array, size: Float32Array] {
  return [compute((x) => x), compute((x) => x.map(Math.abs))]
}

/** Some of `count` indices: both ends, and others between. */
export function pick(count: number): number[] {
  const some = [0, 1, 2, 3, count >> 2, count >> 1, count - 2, count - 1]
  return [...new Set(some.filter((i) => i >= 0 && i < count))]
}

/** The rows of a matrix with these indices. */
export function rowsOf(m: Float32Array, cols: number, rows: readonly number[]): Float32Array {
  const out = new Float32Array(rows.length * cols)
  for (const [i, row] of rows.entries()) out.set(m.subarray(row * cols, (row + 1) * cols), i * cols)
  return out
}

/** The columns of a matrix with these indices, as a matrix. */
export function columnsOf(m: Float32Array, cols: number, some: readonly number[]): Float32Array {
  const rows = m.length / cols
  return Float32Array.from(
    { length: rows * some.length },
    (_, i) => m[Math.floor(i / some.length) * cols + some[i % some.length]!]!,
  )
}

/** The rows of a factor with these indices; the factor lies by column. */
export function gather(
  factor: Float32Array,
  length: number,
  rank: number,
  rows: readonly number[],
): Float32Array {
  return Float32Array.from(
    { length: rows.length * rank },
    (_, i) => factor[Math.floor(i / rows.length) * length + rows[i % rows.length]!]!,
  )
}
