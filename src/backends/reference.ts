// The reference kernels: plain loops with sums in float64, each rounded once, when it is stored.
// They are slow, and define what each kernel computes. Read this file first.
import type { Dims, Kernels } from '../backend.ts'
import { normal } from '../linalg/normal.ts'

/** Bound for gradient and matrix; assembly/accumulateProject.ts gives the reason. */
const LIMIT = 2 ** 100

/**
 * The reference kernels, on single matrices in the caller's arrays. `Kernels` describes each. The
 * fast kernels are tested against them.
 */
export const reference: Kernels = {
  name: 'reference',

  accumulateProject(p, m, g, q, dims) {
    const small = (x: number): boolean => Math.abs(x) < LIMIT // false for NaN
    if (!g.every((value, i) => small(value) && small(Math.fround(m[i]! + value)))) return false
    for (let i = 0; i < m.length; i++) m[i]! += g[i]!
    project(p, m, q, dims)
    return true
  },

  project,

  backproject(q, m, p, { rows, cols, rank }) {
    for (let k = 0; k < rank; k++) {
      for (let j = 0; j < cols; j++) {
        let sum = 0
        for (let i = 0; i < rows; i++) sum += m[i * cols + j]! * p[k * rows + i]!
        q[k * cols + j] = sum
      }
    }
  },

  reconstruct,

  residual,

  settle(y, m, p, qLocal, qMean, dims, scale = 1, accumulate = false) {
    reconstruct(y, p, qMean, dims, scale, accumulate)
    residual(m, p, qLocal, dims)
  },

  orthonormalize(columns, rows, rank, from = 0) {
    const column = (k: number): Float32Array => columns.subarray(k * rows, (k + 1) * rows)
    for (let k = from; k < rank; k++) {
      const v = Float64Array.from(column(k))
      const before = Math.sqrt(dot(v, v))
      if (before === 0 || !Number.isFinite(before)) return k
      // Twice: after the first pass, v may consist of little but rounding errors, which need not be
      // orthogonal to the former columns.
      for (let pass = 0; pass < 2; pass++) {
        for (let j = 0; j < k; j++) {
          const former = column(j)
          const amount = dot(v, former)
          for (let i = 0; i < rows; i++) v[i]! -= amount * former[i]!
        }
      }
      const after = Math.sqrt(dot(v, v))
      if (after <= DEPENDENT * before) return k
      for (let i = 0; i < rows; i++) columns[k * rows + i] = v[i]! / after
    }
    return rank
  },

  normal,

  norm: (x) => dot(x, x),

  accumulate(y, x, a) {
    for (let i = 0; i < y.length; i++) y[i]! += a * x[i]!
  },

  momentum(x, m, g, learningRate, momentum, weightDecay) {
    for (let i = 0; i < x.length; i++) {
      const d = g[i]! + weightDecay * x[i]!
      const velocity = momentum * m[i]! + d
      m[i] = velocity
      x[i]! -= learningRate * (d + velocity)
    }
  },
}

/**
 * A column depends on those before it if at most this fraction of its length remains when they are
 * projected out. The same number is in assembly/orthonormalize.ts.
 */
const DEPENDENT = 2 ** -20

function project(p: Float32Array, m: Float32Array, q: Float32Array, dims: Dims): void {
  const { rows, cols, rank } = dims
  for (let k = 0; k < rank; k++) {
    for (let i = 0; i < rows; i++) {
      let sum = 0
      for (let j = 0; j < cols; j++) sum += m[i * cols + j]! * q[k * cols + j]!
      p[k * rows + i] = sum
    }
  }
}

function reconstruct(
  y: Float32Array,
  p: Float32Array,
  q: Float32Array,
  { rows, cols, rank }: Dims,
  scale = 1,
  accumulate = false,
): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      let sum = 0
      for (let k = 0; k < rank; k++) sum += p[k * rows + i]! * q[k * cols + j]!
      y[i * cols + j] = (accumulate ? y[i * cols + j]! : 0) + scale * sum
    }
  }
}

function residual(m: Float32Array, p: Float32Array, q: Float32Array, dims: Dims): void {
  reconstruct(m, p, q, dims, -1, true)
}

function dot(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!
  return sum
}
