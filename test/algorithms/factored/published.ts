// The structured power iteration published with rank-dAD (`power_iteration_BC`), in float32, from a
// description of its results. It is here to show the errors that ours must not make.
import { numbers } from '../../support/numbers.ts'
import type { Pair } from './factors.ts'

/**
 * Finds vectors one after another by the power iteration on G·Gᵀ − Σ σ²·b·bᵀ over earlier vectors,
 * where σ is that of G itself. It stops when a vector equals the one before; then both are zeroed.
 * It always leaves out the last vector.
 *
 * @returns Σ σ·b·cᵀ, rows × cols, and its σ
 */
export function published(
  { activations, deltas, rows, cols }: Pair,
  { rank = 10, iterations = 5, tolerance = 1e-3, seed = 1 } = {},
): { product: Float32Array; sigmas: number[] } {
  const samples = activations.length / cols
  // G·Gᵀ·b is computed as (Dᵀ·A·Aᵀ)·(D·b), as published for fewer samples than columns.
  if (samples >= cols) throw new Error('the other way is not written down')
  const inner = multiplied(
    activations,
    transposed(activations, samples, cols),
    samples,
    cols,
    samples,
  )
  const outer = multiplied(transposed(deltas, samples, rows), inner, rows, samples, samples)
  const across = transposed(activations, samples, cols)
  const throughSamples = (b: Float32Array) => multiplied(deltas, b, samples, rows, 1)
  const times = (b: Float32Array) => multiplied(outer, throughSamples(b), rows, samples, 1)
  const back = (b: Float32Array) => multiplied(across, throughSamples(b), cols, samples, 1)
  const random = numbers(seed)
  const found: { sigma: number; b: Float32Array; c: Float32Array }[] = []
  for (let k = 0; k < rank; k++) {
    let b = Float32Array.from({ length: rows }, () => (random() + 1) / 2)
    for (let turn = 0; turn < iterations; turn++) {
      const next = times(b)
      for (const { sigma, b: former } of found) {
        const part = Math.fround(sigma * sigma * dot(former, b))
        for (let i = 0; i < rows; i++) next[i] = next[i]! - Math.fround(part * former[i]!)
      }
      const length = Math.sqrt(dot(next, next))
      b = next.map((x) => x / length)
    }
    const gb = back(b)
    const sigma = Math.fround(Math.sqrt(dot(gb, gb)))
    if (Number.isNaN(sigma)) break
    const last = found.at(-1)
    if (found.length >= 2 && distance(b, last!.b) < tolerance) {
      found.pop()
      found.push({ sigma: 0, b, c: gb }) // left out below
      break
    }
    found.push({ sigma, b, c: gb.map((x) => x / sigma) })
  }
  const kept = found.slice(0, -1)
  const product = new Float32Array(rows * cols)
  for (const { sigma, b, c } of kept) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < cols; j++) product[i * cols + j]! += sigma * b[i]! * c[j]!
    }
  }
  return { product, sigmas: kept.map(({ sigma }) => sigma) }
}

function dot(x: Float32Array, y: Float32Array): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum = Math.fround(sum + Math.fround(x[i]! * y[i]!))
  return sum
}

function distance(x: Float32Array, y: Float32Array): number {
  const less = x.map((value, i) => value - y[i]!)
  return Math.sqrt(dot(less, less)) / Math.sqrt(dot(y, y))
}

/** x · y in float32, by row: x is n × inner, y inner × m. */
function multiplied(
  x: Float32Array,
  y: Float32Array,
  n: number,
  inner: number,
  m: number,
): Float32Array {
  return Float32Array.from({ length: n * m }, (_, at) => {
    const [i, j] = [Math.floor(at / m), at % m]
    let sum = 0
    for (let k = 0; k < inner; k++) {
      sum = Math.fround(sum + Math.fround(x[i * inner + k]! * y[k * m + j]!))
    }
    return sum
  })
}

/** xᵀ, by row: x is n × m. */
function transposed(x: Float32Array, n: number, m: number): Float32Array {
  return Float32Array.from({ length: n * m }, (_, at) => x[(at % n) * m + Math.floor(at / n)]!)
}
