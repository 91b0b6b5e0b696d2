// Products with gradients that may be factored: G = DᵀA, where A are the activations, N × cols, and
// D the deltas, N × rows, both by row. The products G·q = Dᵀ(A·q) and Gᵀ·p = Aᵀ(D·p) take
// 2N·rank·(rows + cols) operations each, and G itself is not formed. The algebra is that of Baker
// et al., arXiv 2102.09631.

import type { Dense, Dims, Factored, Gradient, Layout } from '../../backend.ts'
import { squaredNorm } from '../../linalg/products.ts'
import { isFloats } from '../../validate.ts'

/** A gradient in arrays: whole, rows × cols by row, or factored. */
export type ArrayGradient = Dense | Factored

/**
 * The kernels and the memory that factored methods compute with. The kernels return at once and
 * have the same bits on every engine. They work on arrays from `alloc` without copying. See
 * `WasmKernels`.
 */
export interface Workspace {
  /** Makes room for so many floats in new arrays, and ends the validity of all earlier ones. */
  reserve(floats: number): void
  /** A new array in this memory; it may hold anything. */
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

/** The bound of ‖A‖, ‖D‖ and ‖A‖·‖D‖, as in `accumulateProject`: below it no product overflows. */
const LIMIT = 2 ** 100

/** No samples: the product is zero. */
export const NO_GRADIENT: Factored = {
  activations: new Float32Array(0),
  deltas: new Float32Array(0),
}

/**
 * Narrows the type of gradients: `WorkerState.checkGradients` has checked that they are arrays,
 * since the method has `accepts`. Absent ones, and those of frozen parameters, have no samples.
 */
export function asArrays(
  gradients: readonly (Gradient | null)[],
  { parameters }: Layout,
): readonly ArrayGradient[] {
  return gradients.map((gradient, i) =>
    gradient === null || parameters[i]!.frozen ? NO_GRADIENT : (gradient as ArrayGradient),
  )
}

type MatrixSize = Pick<Dims, 'rows' | 'cols'>

/** Whether a gradient is an array of rows × cols, not factored. */
export function isWhole(gradient: ArrayGradient): gradient is Dense {
  return isFloats(gradient)
}

/** The number of samples N of a factored gradient. */
export function samplesIn({ activations }: Factored, cols: number): number {
  return activations.length / cols
}

/**
 * Whether a gradient is finite, and so small that no product, no factor and no update overflows.
 */
export function isBoundedGradient(gradient: ArrayGradient): boolean {
  return isWhole(gradient)
    ? areBounded(gradient)
    : areBounded(gradient.activations, gradient.deltas)
}

/**
 * Whether ‖x‖, ‖y‖ and ‖x‖·‖y‖ are finite and below `LIMIT`; false for NaN. By the Cauchy–Schwarz
 * inequality no element of a product of x and y exceeds ‖x‖·‖y‖.
 *
 * @param x  a matrix, or one of two factors
 * @param y  the other factor; without it only ‖x‖ is checked
 */
export function areBounded(x: Float32Array, y?: Float32Array): boolean {
  const [squaredX, squaredY] = [squaredNorm(x), y ? squaredNorm(y) : 1]
  return squaredX < LIMIT ** 2 && squaredY < LIMIT ** 2 && squaredX * squaredY < LIMIT ** 2
}

/**
 * p ← G·q
 *
 * @param p  out: rows × rank, by column
 * @param q  cols × rank, by column; only read
 * @param scratch  for factored gradients N × rank floats or more, overwritten; must not overlap p
 *   or q
 */
export function projectGradient(
  workspace: Pick<Workspace, 'project' | 'backproject'>,
  p: Float32Array,
  gradient: ArrayGradient,
  q: Float32Array,
  { rows, cols, rank }: Dims,
  scratch: Float32Array,
): void {
  if (isWhole(gradient)) {
    workspace.project(p, gradient, q, { rows, cols, rank })
    return
  }
  const { activations, deltas } = gradient
  const samples = samplesIn(gradient, cols)
  const inner = scratch.subarray(0, samples * rank) // A·q: N × rank, by column
  workspace.project(inner, activations, q, { rows: samples, cols, rank })
  workspace.backproject(p, deltas, inner, { rows: samples, cols: rows, rank })
}

/**
 * q ← Gᵀ·p
 *
 * @param q  out: cols × rank, by column
 * @param p  rows × rank, by column; only read
 * @param scratch  as for `projectGradient`
 */
export function backprojectGradient(
  workspace: Pick<Workspace, 'project' | 'backproject'>,
  q: Float32Array,
  gradient: ArrayGradient,
  p: Float32Array,
  { rows, cols, rank }: Dims,
  scratch: Float32Array,
): void {
  if (isWhole(gradient)) {
    workspace.backproject(q, gradient, p, { rows, cols, rank })
    return
  }
  const { activations, deltas } = gradient
  const samples = samplesIn(gradient, cols)
  const inner = scratch.subarray(0, samples * rank) // D·p: N × rank, by column
  workspace.project(inner, deltas, p, { rows: samples, cols: rows, rank })
  workspace.backproject(q, activations, inner, { rows: samples, cols, rank })
}

/**
 * Multiplies a factored gradient out: DᵀA, rows × cols by row, in the workspace. `roomForProduct`
 * floats must be free there. D by row is Dᵀ by column, one column for each sample, and so is A:
 * that is how `reconstruct` takes its factors.
 */
export function formProduct(
  workspace: Workspace,
  gradient: Factored,
  { rows, cols }: MatrixSize,
): Float32Array {
  const whole = workspace.alloc(rows * cols)
  if (gradient === NO_GRADIENT) return whole.fill(0)
  const { activations, deltas } = gradient
  const [a, d] = [copied(workspace, activations), copied(workspace, deltas)]
  workspace.reconstruct(whole, d, a, { rows, cols, rank: samplesIn(gradient, cols) })
  return whole
}

/** Floats that `formProduct` takes of a workspace. */
export function roomForProduct(gradient: Factored, { rows, cols }: MatrixSize): number {
  return roomFor(rows * cols) + roomOf(gradient)
}

/** Floats that arrays of these lengths take of a workspace, each rounded up to a multiple of 4. */
export function roomFor(...lengths: readonly number[]): number {
  return lengths.reduce((sum, length) => sum + Math.ceil(length / 4) * 4, 0)
}

/** Floats that a copy of a gradient takes of a workspace. */
export function roomOf(gradient: ArrayGradient): number {
  if (isWhole(gradient)) return roomFor(gradient.length)
  return roomFor(gradient.activations.length, gradient.deltas.length)
}

/**
 * A copy of a gradient in the workspace. It stays the same while the caller may change the
 * original.
 */
export function copyGradient(workspace: Workspace, gradient: ArrayGradient): ArrayGradient {
  if (isWhole(gradient)) return copied(workspace, gradient)
  const { activations, deltas } = gradient
  return { activations: copied(workspace, activations), deltas: copied(workspace, deltas) }
}

/** A copy of an array in the workspace. */
export function copied(workspace: Workspace, from: Float32Array): Float32Array {
  const array = workspace.alloc(from.length)
  array.set(from)
  return array
}
