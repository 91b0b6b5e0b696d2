// Products with gradients that may be factored: G = DᵀA, with A the activations and D the deltas, N samples
// of both. G·q = Dᵀ(A·q) and Gᵀ·p = Aᵀ(D·p) take 2N·rank(rows + cols) operations each, and G itself is not
// formed: algebra of Baker et al., arXiv 2102.09631.
import type { Dense, Dims, Factored, Gradient } from '../../backend.ts'

/** A gradient in arrays. */
export type Given = Dense | Factored

/**
 * What factored methods compute with: kernels that wait for nothing, with the same bits on every
 * engine, and memory in which they work without copying. See `WasmKernels`.
 */
export interface Desk {
  reserve(floats: number): void
  alloc(floats: number): Float32Array
  project(p: Float32Array, m: Float32Array, q: Float32Array, dims: Dims): void
  backproject(q: Float32Array, m: Float32Array, p: Float32Array, dims: Dims): void
  reconstruct(
    y: Float32Array,
    p: Float32Array,
    q: Float32Array,
    dims: Dims,
    scale?: number,
    accumulate?: boolean,
  ): void
}

/** What ‖A‖·‖D‖, and each of them, must be below, as in `accumulateProject`: then nothing overflows. */
const LIMIT = 2 ** 100

/** What methods that take factored gradients are given: `Standing.checkGradients` saw to it. */
export function inArrays(gradients: readonly Gradient[]): readonly Given[] {
  return gradients as readonly Given[]
}

type Sides = Pick<Dims, 'rows' | 'cols'>

export function isWhole(gradient: Given): gradient is Dense {
  return gradient instanceof Float32Array
}

/** N */
export function samplesIn({ activations }: Factored, cols: number): number {
  return activations.length / cols
}

/** Whether a gradient is finite, and so small that no product, no factor and no update overflows. */
export function bounded(gradient: Given): boolean {
  return isWhole(gradient)
    ? areBounded(gradient)
    : areBounded(gradient.activations, gradient.deltas)
}

/** The same for a matrix, or for two factors: by Cauchy and Schwarz, no element exceeds ‖x‖·‖y‖. */
export function areBounded(x: Float32Array, y?: Float32Array): boolean {
  const [a, b] = [squares(x), y ? squares(y) : 1]
  return a < LIMIT ** 2 && b < LIMIT ** 2 && a * b < LIMIT ** 2 // false for NaN
}

/** Σ x² in float64 */
export function squares(x: Float32Array): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * x[i]!
  return sum
}

/** p ← G·q @param room  N × rank floats or more, for factored ones: overwritten */
export function project(
  desk: Pick<Desk, 'project' | 'backproject'>,
  p: Float32Array,
  gradient: Given,
  q: Float32Array,
  { rows, cols, rank }: Dims,
  room: Float32Array,
): void {
  if (isWhole(gradient)) {
    desk.project(p, gradient, q, { rows, cols, rank })
    return
  }
  const { activations, deltas } = gradient
  const samples = samplesIn(gradient, cols)
  const inner = room.subarray(0, samples * rank) // A·q: N × rank, by column
  desk.project(inner, activations, q, { rows: samples, cols, rank })
  desk.backproject(p, deltas, inner, { rows: samples, cols: rows, rank })
}

/** q ← Gᵀ·p @param room  as for `project` */
export function backproject(
  desk: Pick<Desk, 'project' | 'backproject'>,
  q: Float32Array,
  gradient: Given,
  p: Float32Array,
  { rows, cols, rank }: Dims,
  room: Float32Array,
): void {
  if (isWhole(gradient)) {
    desk.backproject(q, gradient, p, { rows, cols, rank })
    return
  }
  const { activations, deltas } = gradient
  const samples = samplesIn(gradient, cols)
  const inner = room.subarray(0, samples * rank) // D·p: N × rank, by column
  desk.project(inner, deltas, p, { rows: samples, cols: rows, rank })
  desk.backproject(q, activations, inner, { rows: samples, cols, rank })
}

/**
 * DᵀA in the desk's memory, which must have `roomForProduct`. A sample's deltas are a column of Dᵀ and its
 * activations one of Aᵀ, as `reconstruct` has them.
 */
export function product(desk: Desk, gradient: Factored, { rows, cols }: Sides): Float32Array {
  const whole = desk.alloc(rows * cols)
  const { activations, deltas } = gradient
  const [a, d] = [copied(desk, activations), copied(desk, deltas)]
  desk.reconstruct(whole, d, a, { rows, cols, rank: samplesIn(gradient, cols) })
  return whole
}

export function roomForProduct(gradient: Factored, { rows, cols }: Sides): number {
  return roomFor(rows * cols) + roomOf(gradient)
}

/** Floats that arrays of these lengths take of a desk. */
export function roomFor(...lengths: readonly number[]): number {
  return lengths.reduce((sum, length) => sum + Math.ceil(length / 4) * 4, 0)
}

/** Floats that a copy of a gradient takes of a desk. */
export function roomOf(gradient: Given): number {
  if (isWhole(gradient)) return roomFor(gradient.length)
  return roomFor(gradient.activations.length, gradient.deltas.length)
}

/** A copy where the kernels work: theirs for the whole step, while the caller's may change. */
export function copy(desk: Desk, gradient: Given): Given {
  if (isWhole(gradient)) return copied(desk, gradient)
  const { activations, deltas } = gradient
  return { activations: copied(desk, activations), deltas: copied(desk, deltas) }
}

export function copied(desk: Desk, from: Float32Array): Float32Array {
  const array = desk.alloc(from.length)
  array.set(from)
  return array
}
