// PowerSGD on factored gradients: the full step, with the products of products.ts in place of those
// of the session.

import type { StepContext } from '../../algorithm.ts'
import type { Gradient, Layout, MaybePromise } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import type { AlgorithmSetup, Method } from '../../options.ts'
import { FULL_STEP_OPTIONS, FullStep, gateOf, powerSgd } from '../powersgd.ts'
import { acceptsFactored } from './check.ts'
import {
  type ArrayGradient,
  asArrays,
  backprojectGradient,
  copyGradient,
  formProduct,
  isBoundedGradient,
  isWhole,
  NO_GRADIENT,
  projectGradient,
  roomFor,
  roomForProduct,
  roomOf,
  samplesIn,
  type Workspace,
} from './products.ts'

/**
 * Shared options of full steps that are not supported here: P̂ is never computed on a device, and
 * no step may send the gradient whole.
 */
const UNSUPPORTED: readonly string[] = ['orthonormalize', 'startCompressingAfter']

/**
 * The method `factored` of lowrank/factored.
 *
 * @param kernels  creates the workspace of one compressor
 */
export function factoredMethod(kernels: () => Promise<Workspace>): Method {
  return {
    name: 'factored',
    accepts: acceptsFactored,
    supportedOptions: FULL_STEP_OPTIONS.filter((name) => !UNSUPPORTED.includes(name)),
    defaults: { errorFeedback: 'none' },
    gate: gateOf,
    ranks: powerSgd.ranks,
    cycle: powerSgd.cycle,
    create: async (setup) => {
      const workspace = await kernels()
      return setup.settings.errorFeedback === 'none'
        ? new FullStepWithoutFeedback(setup, workspace)
        : new FullStepWithFeedback(setup, workspace)
    },
  }
}

/**
 * With error feedback. The residual is as large as the model anyway, so each product G = DᵀA is
 * formed and added to M.
 */
class FullStepWithFeedback extends FullStep {
  readonly #workspace: Workspace
  #gradients: readonly (Float32Array | null)[] = []

  constructor(setup: AlgorithmSetup, workspace: Workspace) {
    super(setup)
    this.#workspace = workspace
  }

  take(
    { session, layout }: StepContext,
    gradients: readonly (Gradient | null)[],
  ): MaybePromise<boolean> {
    const arrays = asArrays(gradients, layout)
    if (!arrays.every((gradient) => isWhole(gradient) || isBoundedGradient(gradient))) return false
    const productFloats = arrays.map((gradient, i) =>
      isWhole(gradient) || gradient === NO_GRADIENT
        ? 0
        : roomForProduct(gradient, layout.parameters[i]!),
    )
    this.#workspace.reserve(productFloats.reduce((a, b) => a + b, 0))
    this.#gradients = arrays.map((gradient, i) => {
      if (isWhole(gradient)) return gradient
      if (gradient === NO_GRADIENT) return null
      return formProduct(this.#workspace, gradient, layout.parameters[i]!)
    })
    return session.accumulateProject(this.#gradients)
  }

  withdraw({ session }: StepContext): MaybePromise<void> {
    return session.withdraw(this.#gradients)
  }
}

/**
 * Without error feedback. M stays zero, and nothing as large as the gradient of a factored matrix
 * is formed.
 */
class FullStepWithoutFeedback extends FullStep {
  readonly #workspace: Workspace
  /**
   * copies of this step's gradients of the layout's matrices, in order: `backproject` and further
   * iterations read them after the caller may have changed the originals
   */
  #matrices: readonly ArrayGradient[] = []
  /** arenas for P or P̂ and for Q̂ or Q, and scratch for inner products; in the workspace */
  #p: Float32Array = new Float32Array(0)
  #q: Float32Array = new Float32Array(0)
  #scratch: Float32Array = new Float32Array(0)
  #raw = new Float32Array(0)

  constructor(setup: AlgorithmSetup, workspace: Workspace) {
    super(setup)
    this.#workspace = workspace
  }

  take(context: StepContext, gradients: readonly (Gradient | null)[]): boolean {
    const { session, layout } = context
    const arrays = asArrays(gradients, layout)
    if (!arrays.every(isBoundedGradient)) return false
    this.#setRaw(arrays, layout)
    session.write('raw', bytesOf(this.#raw))
    this.#copyMatrices(arrays, layout)
    this.project(context, this.qHat)
    return true
  }

  withdraw({ session }: StepContext): MaybePromise<void> {
    return session.scale('raw', 0)
  }

  /** Sets #raw to the gradients of the raw parameters. Factored ones are multiplied out. */
  #setRaw(arrays: readonly ArrayGradient[], layout: Layout): void {
    if (this.#raw.length !== layout.rawFloats) this.#raw = new Float32Array(layout.rawFloats)
    for (const parameter of layout.raws) {
      const gradient = arrays[parameter.index]!
      if (isWhole(gradient)) this.#raw.set(gradient, parameter.raw)
      else {
        this.#workspace.reserve(roomForProduct(gradient, parameter))
        this.#raw.set(formProduct(this.#workspace, gradient, parameter), parameter.raw)
      }
    }
  }

  /**
   * Copies the matrices into the workspace, and allocates the factors and the scratch beside them.
   */
  #copyMatrices(arrays: readonly ArrayGradient[], layout: Layout): void {
    const matrices = layout.matrices.map(({ index }) => arrays[index]!)
    const innerFloats = layout.matrices.map(({ cols, rank }, i) => {
      const gradient = matrices[i]!
      return isWhole(gradient) ? 0 : rank * samplesIn(gradient, cols)
    })
    const scratchFloats = Math.max(0, ...innerFloats)
    const copyFloats = matrices.reduce((sum, gradient) => sum + roomOf(gradient), 0)
    this.#workspace.reserve(
      copyFloats + roomFor(layout.leftFloats, layout.rightFloats, scratchFloats),
    )
    this.#matrices = matrices.map((gradient) => copyGradient(this.#workspace, gradient))
    this.#p = this.#workspace.alloc(layout.leftFloats)
    this.#q = this.#workspace.alloc(layout.rightFloats)
    this.#scratch = this.#workspace.alloc(scratchFloats)
  }

  protected override project({ session, layout }: StepContext, qHat: Float32Array): void {
    this.#q.set(qHat)
    for (const [i, matrix] of layout.matrices.entries()) {
      const [p, q] = this.#factorsOf(matrix)
      projectGradient(this.#workspace, p, this.#matrices[i]!, q, matrix, this.#scratch)
    }
    session.write('left', bytesOf(this.#p))
  }

  protected override backproject({ session, layout }: StepContext, pHat: Float32Array): void {
    this.#p.set(pHat)
    for (const [i, matrix] of layout.matrices.entries()) {
      const [p, q] = this.#factorsOf(matrix)
      backprojectGradient(this.#workspace, q, this.#matrices[i]!, p, matrix, this.#scratch)
    }
    session.write('qLocal', bytesOf(this.#q))
  }

  /** The left and right factor of one matrix, as views of the arenas. */
  #factorsOf({ rows, cols, rank, left, right }: Layout['matrices'][number]) {
    return [
      this.#p.subarray(left, left + rows * rank),
      this.#q.subarray(right, right + cols * rank),
    ] as const
  }
}
