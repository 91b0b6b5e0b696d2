import { reference } from '../../src/backends/reference.ts'
import { gaussian } from './gaussian.ts'

/**
 * rows × cols by row, with so many singular values of one size; all matrices share the first few.
 */
export function ofRank(
  rows: number,
  cols: number,
  rank: number,
  scale: number,
  seed: number,
): Float32Array {
  const [p, q] = [
    [rows, 2 * seed],
    [cols, 2 * seed + 1],
  ].map(([length, from]) => {
    const basis = gaussian(rank * length!, from!)
    reference.orthonormalize(basis, length!, rank)
    return basis
  })
  return Float32Array.from({ length: rows * cols }, (_, at) => {
    const [i, j] = [Math.floor(at / cols), at % cols]
    let sum = 0
    for (let k = 0; k < rank; k++) sum += p![k * rows + i]! * q![k * cols + j]!
    return scale * sum
  })
}
