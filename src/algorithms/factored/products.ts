// Products with gradients that may be factored: G = DᵀA, with A the activations and D the deltas, N samples
// of both. G·q = Dᵀ(A·q) and Gᵀ·p = Aᵀ(D·p) take 2N·rank(rows + cols) operations each, and G itself is not
// formed: algebra of Baker et al., arXiv 2102.09631.

import type { Dense, Dims, Factored, Gradient } from '../../backend.ts'
import { squaredNorm } from '../../linalg/products.ts'

/** A gradient in arrays. */
export type ArrayGradient = Dense | Factored

/**
 * What factored methods compute with: kernels that wait for nothing, with the same bits on every
 * engine, and memory in which they work without copying. See `WasmKernels`.
 */
export interface Workspace {
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
export function asArrays(gradients: readonly Gradient[]): readonly ArrayGradient[] {
  return gradients as readonly ArrayGradient[]
}

type Sides = Pick<Dims, 'rows' | 'cols'>

export function isWhole(gradient: ArrayGradient): gradient is Dense {
  return gradient instanceof Float32Array
}

/** N */
export function samplesIn({ activations }: Factored, cols: number): number {
  return activations.length / cols
}

/** Whether a gradient is finite, and so small that no product, no factor and no update overflows. */
export function isBoundedGradient(gradient: ArrayGradient): boolean {
  return isWhole(gradient)
    ? areBounded(gradient)
    : areBounded(gradient.activations, gradient.deltas)
}

/** The same for a matrix, or for two factors: by Cauchy and Schwarz, no element exceeds ‖x‖·‖y‖. */
export function areBounded(x: Float32Array, y?: Float32Array): boolean {
  const [a, b] = [squaredNorm(x), y ? squaredNorm(y) : 1]
  return a < LIMIT ** 2 && b < LIMIT ** 2 && a * b < LIMIT ** 2 // false for NaN
}

/** p ← G·q @param room  N × rank floats or more, for factored ones: overwritten */
export function projectGradient(
  workspace: Pick<Workspace, 'project' | 'backproject'>,
  p: Float32Array,
  gradient: ArrayGradient,
  q: Float32Array,
  { rows, cols, rank }: Dims,
  room: Float32Array,
): void {
  if (isWhole(gradient)) {
    workspace.project(p, gradient, q, { rows, cols, rank })
    return
  }
  const { activations, deltas } = gradient
  const samples = samplesIn(gradient, cols)
  const inner = room.subarray(0, samples * rank) // A·q: N × rank, by column
  workspace.project(inner, activations, q, { rows: samples, cols, rank })
  workspace.backproject(p, deltas, inner, { rows: samples, cols: rows, rank })
}

/** q ← Gᵀ·p @param room  as for `project` */
export function backprojectGradient(
  workspace: Pick<Workspace, 'project' | 'backproject'>,
  q: Float32Array,
  gradient: ArrayGradient,
  p: Float32Array,
  { rows, cols, rank }: Dims,
  room: Float32Array,
): void {
  if (isWhole(gradient)) {
    workspace.backproject(q, gradient, p, { rows, cols, rank })
    return
  }
  const { activations, deltas } = gradient
  const samples = samplesIn(gradient, cols)
  const inner = room.subarray(0, samples * rank) // D·p: N × rank, by column
  workspace.project(inner, deltas, p, { rows: samples, cols: rows, rank })
  workspace.backproject(q, activations, inner, { rows: samples, cols, rank })
}

/**
 * DᵀA in the workspace's memory, which must have `roomForProduct`. A sample's deltas are a column of Dᵀ and its
 * activations one of Aᵀ, as `reconstruct` has them.
 */
export function formProduct(
  workspace: Workspace,
  gradient: Factored,
  { rows, cols }: Sides,
): Float32Array {
  const whole = workspace.alloc(rows * cols)
  const { activations, deltas } = gradient
  const [a, d] = [copied(workspace, activations), copied(workspace, deltas)]
  workspace.reconstruct(whole, d, a, { rows, cols, rank: samplesIn(gradient, cols) })
  return whole
}

export function roomForProduct(gradient: Factored, { rows, cols }: Sides): number {
  return roomFor(rows * cols) + roomOf(gradient)
}

/** Floats that arrays of these lengths take of a workspace. */
export function roomFor(...lengths: readonly number[]): number {
  return lengths.reduce((sum, length) => sum + Math.ceil(length / 4) * 4, 0)
}

/** Floats that a copy of a gradient takes of a workspace. */
export function roomOf(gradient: ArrayGradient): number {
  if (isWhole(gradient)) return roomFor(gradient.length)
  return roomFor(gradient.activations.length, gradient.deltas.length)
}

/** A copy where the kernels work: theirs for the whole step, while the caller's may change. */
export function copyGradient(workspace: Workspace, gradient: ArrayGradient): ArrayGradient {
  if (isWhole(gradient)) return copied(workspace, gradient)
  const { activations, deltas } = gradient
  return { activations: copied(workspace, activations), deltas: copied(workspace, deltas) }
}

export function copied(workspace: Workspace, from: Float32Array): Float32Array {
  const array = workspace.alloc(from.length)
  array.set(from)
  return array
}
