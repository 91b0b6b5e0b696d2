import { reference } from '../../src/backends/reference.ts'
import type { Options } from '../../src/index.ts'

/** Options that compress every matrix. */
export const ALL: Options = { minCompressionRate: 0 }

/** ‖x‖₂ */
export function norm(x: ArrayLike<number>): number {
  return Math.sqrt(reference.norm(Float32Array.from(x)) as number)
}

/** ‖x − y‖₂ */
export function distance(x: Float32Array, y: Float32Array): number {
  return norm(x.map((value, i) => value - y[i]!))
}
