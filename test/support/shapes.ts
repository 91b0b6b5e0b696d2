import type { Dims } from '../../src/backend.ts'

/** Whether this is a bundle for one backend (built/bundle.ts): Node has run the whole tables. */
export const BRIEF = 'LOWRANK_BACKEND' in globalThis

export const RANKS = BRIEF ? [1, 3, 4, 9, 32] : [1, 2, 3, 4, 5, 7, 8, 9, 16, 32]

const LENGTHS = [1, 3, 4, 5, 63, 65, 127]
/** A GPU in software takes a hundred times as long. */
const FEW_LENGTHS = BRIEF ? [1, 5, 127] : [1, 5, 64, 127]

/**
 * Rows and columns on either side of a v128's 4 lanes, of 8 and of 64, and of the strips that
 * kernels cut long rows into.
 */
export function shapes(rank: number, backend = ''): Dims[] {
  const lengths = backend === 'webgpu' ? FEW_LENGTHS : LENGTHS
  const small = lengths.flatMap((rows) => lengths.map((cols) => ({ rows, cols, rank })))
  const long = [
    { rows: 5, cols: 1023, rank },
    { rows: 6, cols: 1024, rank },
    { rows: 7, cols: 2051, rank },
    { rows: 1, cols: 4099, rank },
    { rows: 1027, cols: 6, rank },
  ]
  return [...small, ...long]
}

export function title({ rows, cols, rank }: Dims): string {
  return `${rows} × ${cols}, rank ${rank}`
}

/** Small integers, whose products and sums are exact in float32. */
export function integers(n: number, seed: number): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => ((i * 7 + seed * 3 + (i >> 3)) % 11) - 5)
}

export function magnitudes(x: Float32Array): Float32Array {
  return x.map(Math.abs)
}
