// rank-dAD, one way: each worker sends the leading singular triplets of its own product, as many as matter,
// and everyone adds them up; the sum is not compressed again. The structured power iteration that was
// published with it (arXiv 2102.09631; `power_iteration_BC`) takes one vector after another from an operator
// that it deflates, and fails where the rank is lower than asked for. This is block subspace iteration
// with a Rayleigh–Ritz step: Halko, Martinsson, Tropp 2011 (arXiv 0909.4061), algorithms 4.4 and 5.1.

import type { StepContext } from '../../algorithm.ts'
import type { Host, Layout, Parameter } from '../../backend.ts'
import { gatedRanks } from '../../layout.ts'
import { eigen } from '../../linalg/eigen.ts'
import type { AlgorithmSetup, Method } from '../../options.ts'
import { integer, show } from '../../validate.ts'
import { acceptsFactored } from './check.ts'
import { GatheredFactors } from './gathered.ts'
import {
  type ArrayGradient,
  backprojectGradient,
  copyGradient,
  isWhole,
  projectGradient,
  roomFor,
  roomOf,
  samplesIn,
  type Workspace,
} from './products.ts'
import { type FactorShare, roundOf } from './shares.ts'

export interface RankDadOptions {
  /** Turns of the subspace iteration: each a product with the gradient and one with its transpose. Default 5. */
  readonly iterations?: number
  /** Singular values below this part of the largest are not sent. Default 1e-3. */
  readonly threshold?: number
}

/** @param kernels  made anew for each compressor */
export function rankDadMethod(
  kernels: () => Promise<Workspace>,
  { iterations = 5, threshold = 1e-3 }: RankDadOptions,
): Method {
  integer('iterations', iterations, 1, 127)
  if (typeof threshold !== 'number' || !(threshold >= 0 && threshold <= 1)) {
    throw new RangeError(`"threshold": expected a number from 0 to 1, got ${show(threshold)}`)
  }
  return {
    name: 'rankDad',
    options: { iterations, threshold },
    accepts: acceptsFactored,
    ownsFactors: true,
    supportedOptions: ['rank', 'seed', 'minCompressionRate'],
    defaults: { errorFeedback: 'none' },
    ranks: (specs, settings, wanted) =>
      gatedRanks(specs, settings, wanted, { cost: (rows, cols, rank) => rank * (rows + cols) }),
    cycle: (layout) => [[roundOf(layout, ranksOf(layout))]],
    create: async (setup) => new RankDad(setup, await kernels(), iterations, threshold),
  }
}

function ranksOf({ parameters }: Layout): number[] {
  return parameters.map(({ rank }) => rank)
}

class RankDad extends GatheredFactors {
  readonly #host: Host
  readonly #iterations: number
  readonly #threshold: number

  constructor(
    { host }: AlgorithmSetup,
    workspace: Workspace,
    iterations: number,
    threshold: number,
  ) {
    super(workspace)
    this.#host = host
    this.#iterations = iterations
    this.#threshold = threshold
  }

  protected most(layout: Layout): readonly number[] {
    return ranksOf(layout)
  }

  protected share(
    { layout, step }: StepContext,
    matrices: readonly ArrayGradient[],
  ): FactorShare[] {
    const { workspace } = this
    const inner = layout.matrices.map(({ cols, rank }, i) => {
      const gradient = matrices[i]!
      return isWhole(gradient) ? 0 : rank * samplesIn(gradient, cols)
    })
    const most = Math.max(0, ...inner)
    const copies = matrices.reduce((sum, gradient) => sum + roomOf(gradient), 0)
    workspace.reserve(copies + roomFor(layout.leftFloats, layout.rightFloats, most))
    const held = matrices.map((gradient) => copyGradient(workspace, gradient))
    const [left, right] = [workspace.alloc(layout.leftFloats), workspace.alloc(layout.rightFloats)]
    const room = workspace.alloc(most)

    for (const matrix of layout.matrices) this.#host.fill(matrix, 'right', right, 0, step)
    for (let i = 0; i < this.#iterations; i++) {
      this.#host.orthonormalize(layout, 'right', right, step)
      for (const [i, matrix] of layout.matrices.entries()) {
        const [p, q] = factorsOf(matrix, left, right)
        projectGradient(workspace, p, held[i]!, q, matrix, room)
      }
      this.#host.orthonormalize(layout, 'left', left, step)
      for (const [i, matrix] of layout.matrices.entries()) {
        const [p, q] = factorsOf(matrix, left, right)
        backprojectGradient(workspace, q, held[i]!, p, matrix, room)
      }
    }
    return layout.matrices.map((matrix) => {
      const [p, q] = factorsOf(matrix, left, right)
      return leadingTriplets(p, q, matrix, this.#threshold)
    })
  }
}

function factorsOf({ rows, cols, rank, left, right }: Parameter, p: Float32Array, q: Float32Array) {
  return [p.subarray(left, left + rows * rank), q.subarray(right, right + cols * rank)] as const
}

/**
 * Rayleigh–Ritz: P·Qᵀ, with P orthonormal, turned so that the columns are those of a singular value
 * decomposition, and the first of them.
 *
 * @returns left vectors, and right ones times their singular values: those ≥ threshold × the largest
 */
function leadingTriplets(
  p: Float32Array,
  q: Float32Array,
  { rows, cols, rank }: Parameter,
  threshold: number,
): FactorShare {
  const gram = new Float64Array(rank * rank) // QᵀQ: its eigenvalues are the squares
  for (let k = 0; k < rank; k++) {
    for (let l = 0; l <= k; l++) {
      let sum = 0
      for (let j = 0; j < cols; j++) sum += q[k * cols + j]! * q[l * cols + j]!
      gram[k * rank + l] = sum
      gram[l * rank + k] = sum
    }
  }
  const { values, vectors } = eigen(gram, rank)
  const least = threshold ** 2 * values[0]!
  const count = values.filter((value) => value > 0 && value >= least).length
  return {
    left: turned(p, rows, rank, vectors, count),
    right: turned(q, cols, rank, vectors, count),
  }
}

/** The first columns of columns · vectors. */
function turned(
  columns: Float32Array,
  length: number,
  rank: number,
  vectors: Float64Array,
  count: number,
): Float32Array {
  const result = new Float32Array(length * count)
  for (let k = 0; k < count; k++) {
    for (let i = 0; i < length; i++) {
      let sum = 0
      for (let l = 0; l < rank; l++) sum += columns[l * length + i]! * vectors[k * rank + l]!
      result[k * length + i] = sum
    }
  }
  return result
}
