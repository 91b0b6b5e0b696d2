// Steps of one round, in which every worker gets the factors of all workers and forms the weighted
// mean of their products: Σ weight·L·Rᵀ ÷ Σ weight. No residual is kept: what a worker does not
// send, or its wire type cannot encode, is lost.

import type {
  Algorithm,
  Incoming,
  SharedState,
  StepContext,
  StepGenerator,
} from '../../algorithm.ts'
import type { Gradient, Layout } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import { type Gathering, type Part, packData, unpackPart } from '../../codec/gathered.ts'
import { unfrozen } from '../../layout.ts'
import { squaredNorm } from '../../linalg/products.ts'
import type { AlgorithmSetup } from '../../options.ts'
import { refuseClaims } from '../powersgd.ts'
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
import { areShares, type FactorShare, packShares, unpackShares } from './shares.ts'

/** The words and floats of an absent worker. They are never sent. */
const EMPTY = { words: new Uint32Array(0), floats: new Float32Array(0), columns: [] }

/** The step that dAD and rank-dAD share. A subclass says what a worker sends. */
export abstract class GatheredFactors implements Algorithm {
  readonly shared: SharedState = {
    right: new Float32Array(0),
    left: new Float32Array(0),
    notes: {},
  }
  protected readonly workspace: Workspace
  readonly #setup: AlgorithmSetup
  #ranks: readonly number[] = []
  #gradients: readonly ArrayGradient[] = []

  constructor(setup: AlgorithmSetup, workspace: Workspace) {
    this.#setup = setup
    this.workspace = workspace
    this.load(setup.layout)()
  }

  /** The maximum number of columns of each parameter in a part. */
  protected abstract maxColumns(layout: Layout): readonly number[]

  /**
   * Computes the shares that this worker sends.
   *
   * @param matrices  the gradients of the layout's matrices, in order
   * @returns one share for each of them
   */
  protected abstract share(
    context: StepContext,
    matrices: readonly ArrayGradient[],
  ): readonly FactorShare[]

  prepare(): void {}

  take({ layout }: StepContext, gradients: readonly (Gradient | null)[]): boolean {
    const arrays = asArrays(gradients, layout)
    if (!arrays.every(isBoundedGradient)) return false
    this.#gradients = arrays
    return true
  }

  withdraw(): void {}

  *step(context: StepContext): StepGenerator {
    const { session, layout } = context
    const ownPart = context.present ? packShares(layout, this.#shares(context)) : EMPTY
    const maxColumns = this.maxColumns(layout)
    const gathered: Gathering = {
      pack: (type) => packData(type, ownPart),
      unpack: unpackPart,
      accepts: (part) => areShares(layout, part, maxColumns),
    }
    const { parts, weight } = (yield { gathered }) as Incoming
    const mean = this.#mean(layout, parts, weight)
    return {
      settle: (sink) => session.settle(false, bytesOf(mean), sink),
      squares: squaredNorm(mean),
      raw: true,
    }
  }

  /** One share for each unfrozen parameter. A factored gradient of a raw parameter is multiplied out. */
  #shares(context: StepContext): FactorShare[] {
    const { matrices } = context.layout
    const gradients = this.#gradients
    this.#gradients = [] // the caller may change the arrays once the frame is made
    const ofMatrices = this.share(
      context,
      matrices.map(({ index }) => gradients[index]!),
    )
    let next = 0
    return unfrozen(context.layout).map((parameter): FactorShare => {
      if (parameter.rank > 0) return ofMatrices[next++]!
      const gradient = gradients[parameter.index]!
      if (isWhole(gradient)) return { whole: gradient }
      this.workspace.reserve(roomForProduct(gradient, parameter))
      return { whole: formProduct(this.workspace, gradient, parameter).slice() }
    })
  }

  /**
   * The update: the weighted mean of all workers' shares, one unfrozen parameter after another, by
   * row. It lies in the workspace and has the same bits on every worker.
   */
  #mean(layout: Layout, parts: readonly Part[], weight: number): Float32Array {
    const { workspace } = this
    const shares = parts.map((part) => unpackShares(layout, part))
    let [maxLeft, maxRight] = [0, 0]
    for (const share of shares.flat()) {
      if ('whole' in share) continue
      maxLeft = Math.max(maxLeft, share.left.length)
      maxRight = Math.max(maxRight, share.right.length)
    }
    const parameters = unfrozen(layout)
    const floats = parameters.reduce((sum, { length }) => sum + length, 0)
    workspace.reserve(roomFor(floats, maxLeft, maxRight))
    const mean = workspace.alloc(floats).fill(0)
    const [left, right] = [workspace.alloc(maxLeft), workspace.alloc(maxRight)]
    let at = 0
    for (const [index, { rows, cols, length }] of parameters.entries()) {
      const y = mean.subarray(at, at + length)
      at += length
      for (const [i, part] of parts.entries()) {
        const share = shares[i]![index]!
        if ('whole' in share) continue
        left.set(share.left)
        right.set(share.right)
        const dims = { rows, cols, rank: share.right.length / cols }
        workspace.reconstruct(y, left, right, dims, part.weight / weight, true)
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

  load(layout: Layout): () => void {
    refuseClaims(this.#setup, layout, [], this.#ranks)
    return this.rearrange(layout)
  }

  rearrange({ parameters }: Layout): () => void {
    return () => {
      this.#ranks = parameters.map(({ rank }) => rank)
    }
  }
}

/**
 * Adds the shares that were sent whole: y ← y + Σ weight·whole ÷ Σ weight. The sum is in float64
 * and rounded once, as `aggregate` does with raw values.
 *
 * @param shares  of one parameter, one for each part
 * @param weight  Σ weight over all parts
 */
function addWhole(
  y: Float32Array,
  shares: readonly FactorShare[],
  parts: readonly Part[],
  weight: number,
): void {
  const wholes = shares.flatMap((share, i) =>
    'whole' in share ? [{ values: share.whole, partWeight: parts[i]!.weight }] : [],
  )
  if (wholes.length === 0) return
  for (let j = 0; j < y.length; j++) {
    let sum = 0
    for (const { values, partWeight } of wholes) sum += partWeight * values[j]!
    y[j] = y[j]! + sum / weight
  }
}
