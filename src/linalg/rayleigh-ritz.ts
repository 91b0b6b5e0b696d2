// Rayleigh–Ritz: the leading directions within the span of a factor.
//
// For an orthonormal P̂, ‖P̂·Qᵀ‖² is the sum of the eigenvalues of QᵀQ. Let V hold its k leading
// eigenvectors. Of all matrices of rank k whose columns lie in the span of P̂, P̂·V·(Q·V)ᵀ is the
// nearest to P̂·Qᵀ, and to M if Q = Mᵀ·P̂ (Golub & Van Loan, "Matrix Computations", 4th ed.,
// §8.1.4).
//
// It uses only + − × ÷ and sqrt of float64 in a fixed order, and rounds to float32 once, so its
// bits are the same on every worker.
import { type Eigen, eigen } from './eigen.ts'

/** The largest float32. */
export const LARGEST = (2 - 2 ** -23) * 2 ** 127

/**
 * The eigenvalues of QᵀQ, in descending order, and its eigenvectors.
 *
 * @param q  length × rank, by column; finite
 */
export function rayleighRitz(q: Float32Array, length: number): Eigen {
  const rank = q.length / length
  const gram = new Float64Array(rank * rank)
  for (let k = 0; k < rank; k++) {
    for (let l = 0; l <= k; l++) {
      let sum = 0
      for (let i = 0; i < length; i++) sum += q[k * length + i]! * q[l * length + i]!
      gram[k * rank + l] = sum
      gram[l * rank + k] = sum
    }
  }
  return eigen(gram, rank)
}

/**
 * Q·V for the `kept` leading eigenvectors V of QᵀQ. Returns q itself if `kept` is the rank or 0.
 *
 * @param q  length × rank, by column; finite; only read
 * @returns length × kept, by column
 */
export function leadingColumns(q: Float32Array, length: number, kept: number): Float32Array {
  const rank = q.length / length
  if (kept === rank || kept === 0) return q
  const { vectors } = rayleighRitz(q, length)
  const rotated = new Float32Array(kept * length)
  for (let k = 0; k < kept; k++) {
    for (let i = 0; i < length; i++) {
      let sum = 0
      for (let l = 0; l < rank; l++) sum += q[l * length + i]! * vectors[k * rank + l]!
      // A rotated column may be longer than any column of Q, so its elements could overflow.
      rotated[k * length + i] = Math.max(-LARGEST, Math.min(LARGEST, sum))
    }
  }
  return rotated
}
