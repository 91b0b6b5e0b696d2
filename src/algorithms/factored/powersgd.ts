// PowerSGD on factored gradients: the full step, with the products of products.ts in place of M's.

import type { StepContext } from '../../algorithm.ts'
import type { Gradient, Layout, MaybePromise } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import type { AlgorithmSetup, Method } from '../../options.ts'
import { FULL_STEP_OPTIONS, FullStep, powerSgd } from '../powersgd.ts'
import { acceptsFactored } from './check.ts'
import {
  type ArrayGradient,
  asArrays,
  backprojectGradient,
  copyGradient,
  formProduct,
  isBoundedGradient,
  isWhole,
  projectGradient,
  roomFor,
  roomForProduct,
  roomOf,
  samplesIn,
  type Workspace,
} from './products.ts'

/** Others are for P̂ on a device, and for steps that would send the gradient whole. */
const UNHEEDED: readonly string[] = ['orthonormalize', 'startCompressingAfter']

/** @param kernels  made anew for each compressor */
export function factoredMethod(kernels: () => Promise<Workspace>): Method {
  return {
    name: 'factored',
    accepts: acceptsFactored,
    supportedOptions: FULL_STEP_OPTIONS.filter((name) => !UNHEEDED.includes(name)),
    defaults: { errorFeedback: 'none' },
    ranks: powerSgd.ranks,
    cycle: powerSgd.cycle,
    create: async (setup) => {
      const workspace = await kernels()
      return setup.settings.errorFeedback === 'none'
        ? new Unformed(setup, workspace)
        : new Formed(setup, workspace)
    },
  }
}

/** With feedback: what is kept is as large as the model, so G is multiplied out and added to M. */
class Formed extends FullStep {
  readonly #workspace: Workspace
  #formed: readonly Float32Array[] = []

  constructor(setup: AlgorithmSetup, workspace: Workspace) {
    super(setup)
    this.#workspace = workspace
  }

  take({ session, layout }: StepContext, gradients: readonly Gradient[]): MaybePromise<boolean> {
    const given = asArrays(gradients)
    if (!given.every((gradient) => isWhole(gradient) || isBoundedGradient(gradient))) return false
    const rooms = given.map((gradient, i) =>
      isWhole(gradient) ? 0 : roomForProduct(gradient, layout.parameters[i]!),
    )
    this.#workspace.reserve(rooms.reduce((a, b) => a + b, 0))
    this.#formed = given.map((gradient, i) =>
      isWhole(gradient) ? gradient : formProduct(this.#workspace, gradient, layout.parameters[i]!),
    )
    return session.accumulateProject(this.#formed)
  }

  withdraw({ session }: StepContext): MaybePromise<void> {
    return session.withdraw(this.#formed)
  }
}

/** Without feedback: M stays zero, and of a factored matrix there is nothing as large as its gradient. */
class Unformed extends FullStep {
  readonly #workspace: Workspace
  /** this step's matrices, in the order of the plan's; for `backproject` and further iterations */
  #matrices: readonly ArrayGradient[] = []
  /** factors and room for products, in the workspace's memory */
  #p: Float32Array = new Float32Array(0)
  #q: Float32Array = new Float32Array(0)
  #room: Float32Array = new Float32Array(0)
  #raw = new Float32Array(0)

  constructor(setup: AlgorithmSetup, workspace: Workspace) {
    super(setup)
    this.#workspace = workspace
  }

  take(context: StepContext, gradients: readonly Gradient[]): boolean {
    const { session, layout } = context
    const given = asArrays(gradients)
    if (!given.every(isBoundedGradient)) return false
    this.#takeRaw(given, layout)
    session.write('raw', bytesOf(this.#raw))
    this.#hold(given, layout)
    this.project(context, this.query)
    return true
  }

  withdraw({ session }: StepContext): MaybePromise<void> {
    return session.scale('raw', 0)
  }

  #takeRaw(given: readonly ArrayGradient[], layout: Layout): void {
    if (this.#raw.length !== layout.rawFloats) this.#raw = new Float32Array(layout.rawFloats)
    for (const parameter of layout.raws) {
      const gradient = given[parameter.index]!
      if (isWhole(gradient)) this.#raw.set(gradient, parameter.raw)
      else {
        this.#workspace.reserve(roomForProduct(gradient, parameter))
        this.#raw.set(formProduct(this.#workspace, gradient, parameter), parameter.raw)
      }
    }
  }

  /** Copies the matrices, for the caller's arrays may change after the first frame. */
  #hold(given: readonly ArrayGradient[], layout: Layout): void {
    const matrices = layout.matrices.map(({ index }) => given[index]!)
    const inner = layout.matrices.map(({ cols, rank }, i) => {
      const gradient = matrices[i]!
      return isWhole(gradient) ? 0 : rank * samplesIn(gradient, cols)
    })
    const most = Math.max(0, ...inner)
    const copies = matrices.reduce((sum, gradient) => sum + roomOf(gradient), 0)
    this.#workspace.reserve(copies + roomFor(layout.leftFloats, layout.rightFloats, most))
    this.#matrices = matrices.map((gradient) => copyGradient(this.#workspace, gradient))
    this.#p = this.#workspace.alloc(layout.leftFloats)
    this.#q = this.#workspace.alloc(layout.rightFloats)
    this.#room = this.#workspace.alloc(most)
  }

  protected override project({ session, layout }: StepContext, query: Float32Array): void {
    this.#q.set(query)
    for (const [i, matrix] of layout.matrices.entries()) {
      const [p, q] = this.#factorsOf(matrix)
      projectGradient(this.#workspace, p, this.#matrices[i]!, q, matrix, this.#room)
    }
    session.write('left', bytesOf(this.#p))
  }

  protected override backproject({ session, layout }: StepContext, left: Float32Array): void {
    this.#p.set(left)
    for (const [i, matrix] of layout.matrices.entries()) {
      const [p, q] = this.#factorsOf(matrix)
      backprojectGradient(this.#workspace, q, this.#matrices[i]!, p, matrix, this.#room)
    }
    session.write('qLocal', bytesOf(this.#q))
  }

  #factorsOf({ rows, cols, rank, left, right }: Layout['matrices'][number]) {
    return [
      this.#p.subarray(left, left + rows * rank),
      this.#q.subarray(right, right + cols * rank),
    ] as const
  }
}
