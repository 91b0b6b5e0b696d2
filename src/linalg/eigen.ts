// Eigenvalues and eigenvectors of small symmetric matrices, in float64.

/** The eigendecomposition of a symmetric n × n matrix. */
export interface Eigen {
  /** the n eigenvalues, in descending order */
  readonly values: Float64Array
  /** the n × n eigenvectors, by column: orthonormal, in the order of the values */
  readonly vectors: Float64Array
}

/** A safeguard: convergence is quadratic, and ten sweeps are enough for any small matrix. */
const MAX_SWEEPS = 30

/**
 * Computes all eigenvalues and eigenvectors of a symmetric matrix by cyclic Jacobi rotations (Golub
 * & Van Loan, "Matrix Computations", 4th ed., §8.5). A sweep takes about n³ operations, so n should
 * be small. It uses only + − × ÷ and sqrt of float64 in a fixed order, so its bits are the same on
 * every engine.
 *
 * @param matrix  n × n, symmetric, finite; only read
 */
export function eigen(matrix: Float64Array, n: number): Eigen {
  const a = matrix.slice()
  const v = new Float64Array(n * n)
  for (let i = 0; i < n; i++) v[i * n + i] = 1
  let rotated = true
  for (let sweep = 0; rotated && sweep < MAX_SWEEPS; sweep++) {
    rotated = false
    for (let i = 0; i < n; i++) {
      for (let j = i + 1; j < n; j++) {
        const off = a[i * n + j]!
        const [aii, ajj] = [a[i * n + i]!, a[j * n + j]!]
        // Relative to both diagonal entries, so that small eigenvalues are accurate, too.
        const least = Number.EPSILON * Math.sqrt(Math.abs(aii)) * Math.sqrt(Math.abs(ajj))
        if (Math.abs(off) <= least) continue
        rotated = true
        const tau = (ajj - aii) / (2 * off)
        const tangent = (tau < 0 ? -1 : 1) / (Math.abs(tau) + Math.sqrt(1 + tau * tau))
        const cosine = 1 / Math.sqrt(1 + tangent * tangent)
        const sine = tangent * cosine
        rotate(a, i, j, n, n, cosine, sine) // columns i and j,
        rotate(a, i * n, j * n, 1, n, cosine, sine) // then rows i and j
        rotate(v, i * n, j * n, 1, n, cosine, sine)
      }
    }
  }
  const order = Array.from({ length: n }, (_, i) => i)
  order.sort((i, j) => a[j * n + j]! - a[i * n + i]!)
  const vectors = new Float64Array(n * n)
  for (const [k, i] of order.entries()) vectors.set(v.subarray(i * n, (i + 1) * n), k * n)
  return { values: Float64Array.from(order, (i) => a[i * n + i]!), vectors }
}

/**
 * Rotates two rows or two columns: (x, y) ← (c·x − s·y, s·x + c·y), for n elements each.
 *
 * @param x  index of the first element of one of them
 * @param y  index of the first element of the other
 * @param stride  distance between an element and the next
 */
function rotate(
  a: Float64Array,
  x: number,
  y: number,
  stride: number,
  n: number,
  c: number,
  s: number,
): void {
  for (let k = 0; k < n; k++, x += stride, y += stride) {
    const [ax, ay] = [a[x]!, a[y]!]
    a[x] = c * ax - s * ay
    a[y] = s * ax + c * ay
  }
}
