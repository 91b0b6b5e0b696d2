// rank-dAD, the one-way variant: each worker sends the leading singular triplets of its own product
// DᵀA, and each forms the weighted mean of all of them. The mean is not compressed again.
//
// The structured power iteration published with it (arXiv 2102.09631; `power_iteration_BC`)
// extracts one vector after another from a deflated operator, and fails where the rank is lower
// than asked for. This file has block subspace iteration with a Rayleigh–Ritz step instead: Halko,
// Martinsson, Tropp 2011 (arXiv 0909.4061), algorithms 4.4 and 5.1.

import type { StepContext } from '../../algorithm.ts'
import type { Host, Layout, Parameter } from '../../backend.ts'
import { gatedRanks } from '../../layout.ts'
import { eigen } from '../../linalg/eigen.ts'
import type { AlgorithmSetup, Method } from '../../options.ts'
import { integer, knownOptions, number } from '../../validate.ts'
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
import { FACTORS_GATE, type FactorShare, roundOf } from './shares.ts'

/** Options of `rankDad`. */
export interface RankDadOptions {
  /**
   * The number of subspace iterations: each multiplies once by the gradient and once by its
   * transpose. From 1 to 127. Default 5.
   */
  readonly iterations?: number
  /**
   * Singular values below this fraction of the largest are not sent: from 0 to 1. Default 1e-3.
   */
  readonly threshold?: number
}

/**
 * The method `rankDad` of lowrank/factored.
 *
 * @param kernels  creates the workspace of one compressor
 * @throws TypeError, RangeError  naming the option
 */
export function rankDadMethod(kernels: () => Promise<Workspace>, options: RankDadOptions): Method {
  const { iterations = 5, threshold = 1e-3 } = knownOptions(options, ['iterations', 'threshold'])
  integer('iterations', iterations, 1, 127)
  number('threshold', threshold, 'a number from 0 to 1', (x) => x >= 0 && x <= 1)
  return {
    name: 'rankDad',
    options: { iterations, threshold },
    accepts: acceptsFactored,
    ownsFactors: true,
    supportedOptions: ['rank', 'seed', 'minCompressionRate'],
    defaults: { errorFeedback: 'none' },
    gate: () => FACTORS_GATE,
    ranks: (specs, settings, wanted) => gatedRanks(specs, settings, wanted, FACTORS_GATE),
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

  constructor(setup: AlgorithmSetup, workspace: Workspace, iterations: number, threshold: number) {
    super(setup, workspace)
    this.#host = setup.host
    this.#iterations = iterations
    this.#threshold = threshold
  }

  protected maxColumns(layout: Layout): readonly number[] {
    return ranksOf(layout)
  }

  protected share(
    { layout, step }: StepContext,
    matrices: readonly ArrayGradient[],
  ): FactorShare[] {
    const { workspace } = this
    const innerFloats = layout.matrices.map(({ cols, rank }, i) => {
      const gradient = matrices[i]!
      return isWhole(gradient) ? 0 : rank * samplesIn(gradient, cols)
    })
    const scratchFloats = Math.max(0, ...innerFloats)
    const copyFloats = matrices.reduce((sum, gradient) => sum + roomOf(gradient), 0)
    workspace.reserve(copyFloats + roomFor(layout.leftFloats, layout.rightFloats, scratchFloats))
    const matrixCopies = matrices.map((gradient) => copyGradient(workspace, gradient))
    const [left, right] = [workspace.alloc(layout.leftFloats), workspace.alloc(layout.rightFloats)]
    const scratch = workspace.alloc(scratchFloats)

    for (const matrix of layout.matrices) this.#host.fill(matrix, 'right', right, 0, step)
    for (let i = 0; i < this.#iterations; i++) {
      this.#host.orthonormalize(layout, 'right', right, step)
      for (const [i, matrix] of layout.matrices.entries()) {
        const [p, q] = factorsOf(matrix, left, right)
        projectGradient(workspace, p, matrixCopies[i]!, q, matrix, scratch)
      }
      this.#host.orthonormalize(layout, 'left', left, step)
      for (const [i, matrix] of layout.matrices.entries()) {
        const [p, q] = factorsOf(matrix, left, right)
        backprojectGradient(workspace, q, matrixCopies[i]!, p, matrix, scratch)
      }
    }
    return layout.matrices.map((matrix) => {
      const [p, q] = factorsOf(matrix, left, right)
      return leadingTriplets(p, q, matrix, this.#threshold)
    })
  }
}

/** The left and right factor of one matrix, as views of the arenas p and q. */
function factorsOf({ rows, cols, rank, left, right }: Parameter, p: Float32Array, q: Float32Array) {
  return [p.subarray(left, left + rows * rank), q.subarray(right, right + cols * rank)] as const
}

/**
 * A Rayleigh–Ritz step: rotates the columns of P·Qᵀ into those of a singular value decomposition,
 * and takes the leading ones.
 *
 * @param p  P: rows × rank by column, orthonormal; only read
 * @param q  Q: cols × rank by column; only read
 * @returns left singular vectors, and right ones times their singular values, for all singular
 *   values ≥ threshold × the largest
 */
function leadingTriplets(
  p: Float32Array,
  q: Float32Array,
  { rows, cols, rank }: Parameter,
  threshold: number,
): FactorShare {
  // QᵀQ: its eigenvalues are the squares of the singular values.
  const gram = new Float64Array(rank * rank)
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
    left: rotate(p, rows, rank, vectors, count),
    right: rotate(q, cols, rank, vectors, count),
  }
}

/**
 * The first `count` columns of columns · vectors, summed in float64.
 *
 * @param columns  length × rank, by column; only read
 * @param vectors  rank × rank, by column; only read
 */
function rotate(
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
