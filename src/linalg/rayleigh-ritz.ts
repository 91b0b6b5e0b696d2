// Rayleigh–Ritz: the directions in the span of a factor that carry most.
//
// With P̂ orthonormal, ‖P̂·Qᵀ‖² is the sum of the eigenvalues of QᵀQ; of all that have rank k and lie in
// P̂'s span, P̂·V·(Q·V)ᵀ is nearest, where V has the k leading eigenvectors (Golub & Van Loan, "Matrix
// Computations", 4th ed., §8.1.4).
//
// + − × ÷ and sqrt of float64 in a fixed order, rounded to float32 once: the same bits everywhere.
import { type Eigen, eigen } from './eigen.ts'

/** The largest float32. */
export const LARGEST = (2 - 2 ** -23) * 2 ** 127

/** Eigenvalues of QᵀQ, descending, and its eigenvectors. @param q  length × rank, by column; finite */
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
 * Q·V for the `kept` leading eigenvectors V of QᵀQ; Q itself where all are kept, or none.
 *
 * @param q  length × rank, by column; finite
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
      // A rotated column may be longer than any before.
      rotated[k * length + i] = Math.max(-LARGEST, Math.min(LARGEST, sum))
    }
  }
  return rotated
}
