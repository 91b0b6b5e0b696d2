import { reference } from '../../src/backends/reference.ts'

/** n standard normals, the same for the same seed. */
export function gaussian(n: number, seed: number): Float32Array {
  const x = new Float32Array(n)
  reference.normal(x, seed, 0, 0, 0, 0)
  return x
}
