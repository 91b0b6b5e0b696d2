// Steps of one round in which everyone gets everyone's factors, and forms the mean of their products:
// Σ weight·L·Rᵀ / Σ weight. Nothing is kept between steps: what is not sent, or lost on the wire, is lost.

import type {
  Algorithm,
  Incoming,
  SharedState,
  StepContext,
  StepGenerator,
} from '../../algorithm.ts'
import type { Gradient, Layout } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import type { Part } from '../../codec/gathered.ts'
import { gathering } from '../../codec/gathered.ts'
import { squaredNorm } from '../../linalg/products.ts'
import {
  type ArrayGradient,
  asArrays,
  formProduct,
  isBoundedGradient,
  isWhole,
  roomFor,
  roomForProduct,
  type Workspace,
} from './products.ts'
import { type FactorShare, packShares, refuseShares, unpackShares } from './shares.ts'

/** Of an absent worker: it does not leave. */
const NOTHING = { words: new Uint32Array(0), floats: new Float32Array(0), columns: [] }

export abstract class GatheredFactors implements Algorithm {
  readonly shared: SharedState = {
    right: new Float32Array(0),
    left: new Float32Array(0),
    notes: {},
  }
  protected readonly workspace: Workspace
  #gradients: readonly ArrayGradient[] = []

  constructor(workspace: Workspace) {
    this.workspace = workspace
  }

  /** The most columns that a part may have, by parameter. */
  protected abstract most(layout: Layout): readonly number[]

  /** What this worker sends of the plan's matrices, in their order. */
  protected abstract share(
    context: StepContext,
    matrices: readonly ArrayGradient[],
  ): readonly FactorShare[]

  prepare(): void {}

  take(_turn: StepContext, gradients: readonly Gradient[]): boolean {
    const given = asArrays(gradients)
    if (!given.every(isBoundedGradient)) return false
    this.#gradients = given
    return true
  }

  withdraw(): void {}

  *step(context: StepContext): StepGenerator {
    const { session, layout } = context
    const own = context.present ? packShares(layout, this.#shares(context)) : NOTHING
    const most = this.most(layout)
    const gathered = gathering(own, (part) => refuseShares(layout, part, most))
    const { parts, weight } = (yield { gathered }) as Incoming
    const mean = this.#mean(layout, parts, weight)
    return {
      settle: (sink) => session.settle(false, bytesOf(mean), sink),
      squares: squaredNorm(mean),
      raw: true,
    }
  }

  /** One per parameter. Raw ones that are factored are multiplied out. */
  #shares(context: StepContext): FactorShare[] {
    const { matrices, parameters } = context.layout
    const given = this.#gradients
    this.#gradients = [] // the caller's, once the frame is there
    const own = this.share(
      context,
      matrices.map(({ index }) => given[index]!),
    )
    let next = 0
    return parameters.map((parameter): FactorShare => {
      if (parameter.rank > 0) return own[next++]!
      const gradient = given[parameter.index]!
      if (isWhole(gradient)) return { whole: gradient }
      this.workspace.reserve(roomForProduct(gradient, parameter))
      return { whole: formProduct(this.workspace, gradient, parameter).slice() }
    })
  }

  /** The update, of all parameters in order; in the workspace's memory. The same bits on every worker. */
  #mean(layout: Layout, parts: readonly Part[], weight: number): Float32Array {
    const { workspace } = this
    const shares = parts.map((part) => unpackShares(layout, part))
    const factors = shares.flat().filter((share) => 'left' in share)
    const lefts = Math.max(0, ...factors.map(({ left }) => left.length))
    const rights = Math.max(0, ...factors.map(({ right }) => right.length))
    workspace.reserve(roomFor(layout.denseFloats, lefts, rights))
    const mean = workspace.alloc(layout.denseFloats).fill(0)
    const [l, r] = [workspace.alloc(lefts), workspace.alloc(rights)]
    let at = 0
    for (const { index, rows, cols, length } of layout.parameters) {
      const y = mean.subarray(at, at + length)
      at += length
      for (const [i, { weight: own }] of parts.entries()) {
        const share = shares[i]![index]!
        if ('whole' in share) continue
        l.set(share.left)
        r.set(share.right)
        const dims = { rows, cols, rank: share.right.length / cols }
        workspace.reconstruct(y, l, r, dims, own / weight, true)
      }
      addWhole(
        y,
        shares.map((of) => of[index]!),
        parts,
        weight,
      )
    }
    return mean
  }

  load(): void {}

  rearrange(): void {}
}

/** y ← y + Σ weight·whole / Σ weight, in float64, rounded once: a mean of raw values as `aggregate` has it. */
function addWhole(
  y: Float32Array,
  shares: readonly FactorShare[],
  parts: readonly Part[],
  weight: number,
): void {
  const wholes = shares.flatMap((share, i) =>
    'whole' in share ? [{ values: share.whole, own: parts[i]!.weight }] : [],
  )
  if (wholes.length === 0) return
  for (let j = 0; j < y.length; j++) {
    let sum = 0
    for (const { values, own } of wholes) sum += own * values[j]!
    y[j] = y[j]! + sum / weight
  }
}
