// PowerSGD on factored gradients: the full step, with the products of products.ts in place of M's.

import type { Turn } from '../../algorithm.ts'
import type { Gradient, MaybePromise, Plan } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import type { Making, Method } from '../../options.ts'
import { FullStep, HEEDED, powerSgd } from '../powersgd.ts'
import { takes } from './check.ts'
import {
  backproject,
  bounded,
  copy,
  type Desk,
  type Given,
  inArrays,
  isWhole,
  product,
  project,
  roomFor,
  roomForProduct,
  roomOf,
  samplesIn,
} from './products.ts'

/** Others are for P̂ on a device, and for steps that would send the gradient whole. */
const UNHEEDED: readonly string[] = ['orthonormalize', 'startCompressingAfter']

/** @param kernels  made anew for each compressor */
export function factoredPowerSgd(kernels: () => Promise<Desk>): Method {
  return {
    name: 'factored',
    takes,
    heeds: HEEDED.filter((name) => !UNHEEDED.includes(name)),
    defaults: { errorFeedback: 'none' },
    ranks: powerSgd.ranks,
    cycle: powerSgd.cycle,
    create: async (making) => {
      const desk = await kernels()
      return making.settings.errorFeedback === 'none'
        ? new Unformed(making, desk)
        : new Formed(making, desk)
    },
  }
}

/** With feedback: what is kept is as large as the model, so G is multiplied out and added to M. */
class Formed extends FullStep {
  readonly #desk: Desk
  #formed: readonly Float32Array[] = []

  constructor(making: Making, desk: Desk) {
    super(making)
    this.#desk = desk
  }

  take({ session, plan }: Turn, gradients: readonly Gradient[]): MaybePromise<boolean> {
    const given = inArrays(gradients)
    if (!given.every((gradient) => isWhole(gradient) || bounded(gradient))) return false
    const rooms = given.map((gradient, i) =>
      isWhole(gradient) ? 0 : roomForProduct(gradient, plan.parameters[i]!),
    )
    this.#desk.reserve(rooms.reduce((a, b) => a + b, 0))
    this.#formed = given.map((gradient, i) =>
      isWhole(gradient) ? gradient : product(this.#desk, gradient, plan.parameters[i]!),
    )
    return session.accumulateProject(this.#formed)
  }

  withdraw({ session }: Turn): MaybePromise<void> {
    return session.withdraw(this.#formed)
  }
}

/** Without feedback: M stays zero, and of a factored matrix there is nothing as large as its gradient. */
class Unformed extends FullStep {
  readonly #desk: Desk
  /** this step's matrices, in the order of the plan's; for `backproject` and further iterations */
  #matrices: readonly Given[] = []
  /** factors and room for products, in the desk's memory */
  #p: Float32Array = new Float32Array(0)
  #q: Float32Array = new Float32Array(0)
  #room: Float32Array = new Float32Array(0)
  #raw = new Float32Array(0)

  constructor(making: Making, desk: Desk) {
    super(making)
    this.#desk = desk
  }

  take(turn: Turn, gradients: readonly Gradient[]): boolean {
    const { session, plan } = turn
    const given = inArrays(gradients)
    if (!given.every(bounded)) return false
    this.#takeRaw(given, plan)
    session.write('raw', bytesOf(this.#raw))
    this.#hold(given, plan)
    this.project(turn, this.query)
    return true
  }

  withdraw({ session }: Turn): MaybePromise<void> {
    return session.scale('raw', 0)
  }

  #takeRaw(given: readonly Given[], plan: Plan): void {
    if (this.#raw.length !== plan.rawFloats) this.#raw = new Float32Array(plan.rawFloats)
    for (const parameter of plan.raws) {
      const gradient = given[parameter.index]!
      if (isWhole(gradient)) this.#raw.set(gradient, parameter.raw)
      else {
        this.#desk.reserve(roomForProduct(gradient, parameter))
        this.#raw.set(product(this.#desk, gradient, parameter), parameter.raw)
      }
    }
  }

  /** Copies the matrices, for the caller's arrays may change after the first frame. */
  #hold(given: readonly Given[], plan: Plan): void {
    const matrices = plan.matrices.map(({ index }) => given[index]!)
    const inner = plan.matrices.map(({ cols, rank }, i) => {
      const gradient = matrices[i]!
      return isWhole(gradient) ? 0 : rank * samplesIn(gradient, cols)
    })
    const most = Math.max(0, ...inner)
    const copies = matrices.reduce((sum, gradient) => sum + roomOf(gradient), 0)
    this.#desk.reserve(copies + roomFor(plan.leftFloats, plan.rightFloats, most))
    this.#matrices = matrices.map((gradient) => copy(this.#desk, gradient))
    this.#p = this.#desk.alloc(plan.leftFloats)
    this.#q = this.#desk.alloc(plan.rightFloats)
    this.#room = this.#desk.alloc(most)
  }

  protected override project({ session, plan }: Turn, query: Float32Array): void {
    this.#q.set(query)
    for (const [i, matrix] of plan.matrices.entries()) {
      const [p, q] = this.#factorsOf(matrix)
      project(this.#desk, p, this.#matrices[i]!, q, matrix, this.#room)
    }
    session.write('left', bytesOf(this.#p))
  }

  protected override backproject({ session, plan }: Turn, left: Float32Array): void {
    this.#p.set(left)
    for (const [i, matrix] of plan.matrices.entries()) {
      const [p, q] = this.#factorsOf(matrix)
      backproject(this.#desk, q, this.#matrices[i]!, p, matrix, this.#room)
    }
    session.write('own', bytesOf(this.#q))
  }

  #factorsOf({ rows, cols, rank, left, right }: Plan['matrices'][number]) {
    return [
      this.#p.subarray(left, left + rows * rank),
      this.#q.subarray(right, right + cols * rank),
    ] as const
  }
}
