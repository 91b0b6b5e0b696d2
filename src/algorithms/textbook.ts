// PowerSGD with error feedback, one training step of all workers, as float64 loops that need nothing
// else of this library. Read this file first. Tests compare whole steps with it; no door exports it.
//
// Vogels, Karimireddy, Jaggi 2019 (arXiv 1905.13727): "1:3" is line 3 of Algorithm 1, compression;
// "2:7" is line 7 of Algorithm 2, error feedback. Two things are not in them. Means are weighted,
// and a worker of weight 0 is absent. And Q is made orthonormal before use, as P is. That changes the
// columns of P but not their span, and the update P̂·P̂ᵀ·M is a projection on that span.
//
// Learning rate and momentum (2:12, 2:13) belong to the optimizer. Read next: powersgd.ts, the same
// step as a generator that yields each round, and backends/reference.ts, the same loops as kernels.

/** A matrix and the rank of its factors. Rank 0: it travels raw, as vectors do (1:1). */
export interface MatrixShape {
  readonly rows: number
  readonly cols: number
  readonly rank: number
}

/** All workers between two steps. Matrices lie row by row, factors column by column. */
export interface Fleet {
  readonly parameters: readonly MatrixShape[]
  /** by parameter: cols × rank, the same at all workers; at first standard normals (1:1) */
  readonly q: Float64Array[]
  /** by worker, then by parameter: e, at first zeros (2:4) */
  readonly residuals: Float64Array[][]
}

export interface StepOptions {
  /** whether a worker keeps M − P̂·Qᵀ with its own Q, M − P̂·Q̄ᵀ with the mean, or nothing */
  readonly errorFeedback?: 'local' | 'aggregated' | 'none'
  readonly iterations?: number
}

/**
 * Takes one step and writes the next Q and residuals into `fleet`.
 *
 * @param gradients  by worker, then by parameter
 * @param weights  by worker; 0: it is absent, is in no mean, and keeps all of M
 * @returns the update by parameter, the same for all workers
 */
export function step(
  { parameters, q: factors, residuals }: Fleet,
  gradients: readonly (readonly ArrayLike<number>[])[],
  weights: readonly number[],
  { errorFeedback = 'local', iterations = 1 }: StepOptions = {},
): Float64Array[] {
  return parameters.map((parameter, i) => {
    const { rows, cols, rank } = parameter
    const matrices = gradients.map((g, w) => sum(residuals[w]![i]!, 1, g[i]!)) // M = g + e, 2:7
    let update = mean(matrices, weights) // of raw parameters; 0 if all are absent
    let sent = matrices // what each worker's own frame says of its M: if raw, all of it
    if (rank > 0) {
      let q = factors[i]!
      let p: Float64Array = new Float64Array(0)
      let ownQ: Float64Array[] = []
      for (let k = 0; k < iterations; k++) {
        const from = orthonormalize(q, cols, rank)
        const ownP = matrices.map((m) => project(m, from, parameter)) // P = M·Q, 1:3
        p = orthonormalize(mean(ownP, weights), rows, rank) // 1:4 and 1:5
        ownQ = matrices.map((m) => backproject(m, p, parameter)) // Q = Mᵀ·P̂, 1:6
        q = mean(ownQ, weights) // 1:7
      }
      update = reconstruct(p, q, parameter) // 1:11, of the means, 2:11
      const sentQ = errorFeedback === 'aggregated' ? ownQ.map(() => q) : ownQ
      sent = sentQ.map((one) => reconstruct(p, one, parameter))
      if (weights.some((weight) => weight > 0)) factors[i] = q // warm start: the next step's Q
    }
    for (const [w, m] of matrices.entries()) {
      const kept = weights[w] === 0 ? m : sum(m, -1, sent[w]!) // e = M − P̂·Qᵀ, 2:9
      residuals[w]![i] = errorFeedback === 'none' ? new Float64Array(m.length) : kept
    }
    return update
  })
}

/** P ← M·Q: rows × rank */
function project(
  m: Float64Array,
  q: Float64Array,
  { rows, cols, rank }: MatrixShape,
): Float64Array {
  const p = new Float64Array(rows * rank)
  for (let k = 0; k < rank; k++) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < cols; j++) p[k * rows + i]! += m[i * cols + j]! * q[k * cols + j]!
    }
  }
  return p
}

/** Q ← Mᵀ·P: cols × rank */
function backproject(
  m: Float64Array,
  p: Float64Array,
  { rows, cols, rank }: MatrixShape,
): Float64Array {
  const q = new Float64Array(cols * rank)
  for (let k = 0; k < rank; k++) {
    for (let j = 0; j < cols; j++) {
      for (let i = 0; i < rows; i++) q[k * cols + j]! += m[i * cols + j]! * p[k * rows + i]!
    }
  }
  return q
}

/** P·Qᵀ: rows × cols */
function reconstruct(
  p: Float64Array,
  q: Float64Array,
  { rows, cols, rank }: MatrixShape,
): Float64Array {
  const update = new Float64Array(rows * cols)
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < cols; j++) {
      for (let k = 0; k < rank; k++) update[i * cols + j]! += p[k * rows + i]! * q[k * cols + j]!
    }
  }
  return update
}

/**
 * Gram–Schmidt, twice, because once leaves columns that are nearly parallel not orthogonal. A zero
 * column stays zero here; the library draws another in its place.
 */
function orthonormalize(columns: Float64Array, length: number, rank: number): Float64Array {
  const basis = columns.slice()
  for (let k = 0; k < rank; k++) {
    const column = basis.subarray(k * length, (k + 1) * length)
    for (let pass = 0; pass < 2; pass++) {
      for (let j = 0; j < k; j++) {
        const former = basis.subarray(j * length, (j + 1) * length)
        column.set(sum(column, -dot(column, former), former))
      }
    }
    const norm = Math.sqrt(dot(column, column))
    for (let i = 0; norm > 0 && i < length; i++) column[i]! /= norm
  }
  return basis
}

/** Σ weight·x ÷ Σ weight over the workers; zeros if all are absent. */
function mean(arrays: readonly Float64Array[], weights: readonly number[]): Float64Array {
  const total = weights.reduce((a, b) => a + b, 0) || 1
  return arrays.reduce(
    (all, x, w) => sum(all, weights[w]! / total, x),
    new Float64Array(arrays[0]!.length),
  )
}

/** x + a·y */
function sum(x: Float64Array, a: number, y: ArrayLike<number>): Float64Array {
  return x.map((value, i) => value + a * y[i]!)
}

function dot(x: Float64Array, y: Float64Array): number {
  return x.reduce((total, value, i) => total + value * y[i]!, 0)
}
