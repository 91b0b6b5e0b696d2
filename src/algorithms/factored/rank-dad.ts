// rank-dAD, one way: each worker sends the leading singular triplets of its own product, as many as matter,
// and everyone adds them up; the sum is not compressed again. The structured power iteration that was
// published with it (arXiv 2102.09631; `power_iteration_BC`) takes one vector after another from an operator
// that it deflates, and fails where the rank is lower than asked for. This is block subspace iteration
// with a Rayleigh–Ritz step: Halko, Martinsson, Tropp 2011 (arXiv 0909.4061), algorithms 4.4 and 5.1.

import type { Turn } from '../../algorithm.ts'
import type { Host, Parameter, Plan } from '../../backend.ts'
import { gated } from '../../layout.ts'
import { eigen } from '../../linalg/eigen.ts'
import type { Making, Method } from '../../options.ts'
import { integer, show } from '../../validate.ts'
import { takes } from './check.ts'
import { Gathered } from './gathered.ts'
import {
  backproject,
  copy,
  type Desk,
  type Given,
  isWhole,
  project,
  roomFor,
  roomOf,
  samplesIn,
} from './products.ts'
import { roundOf, type Share } from './shares.ts'

export interface RankDadOptions {
  /** Turns of the subspace iteration: each a product with the gradient and one with its transpose. Default 5. */
  readonly iterations?: number
  /** Singular values below this part of the largest are not sent. Default 1e-3. */
  readonly threshold?: number
}

/** @param kernels  made anew for each compressor */
export function gatheredSubspaces(
  kernels: () => Promise<Desk>,
  { iterations = 5, threshold = 1e-3 }: RankDadOptions,
): Method {
  integer('iterations', iterations, 1, 127)
  if (typeof threshold !== 'number' || !(threshold >= 0 && threshold <= 1)) {
    throw new RangeError(`"threshold": expected a number from 0 to 1, got ${show(threshold)}`)
  }
  return {
    name: 'rankDad',
    options: { iterations, threshold },
    takes,
    whole: true,
    heeds: ['rank', 'seed', 'minCompressionRate'],
    defaults: { errorFeedback: 'none' },
    ranks: (specs, settings, wanted) =>
      gated(specs, settings, wanted, { cost: (rows, cols, rank) => rank * (rows + cols) }),
    cycle: (plan) => [[roundOf(plan, ranksOf(plan))]],
    create: async (making) => new RankDad(making, await kernels(), iterations, threshold),
  }
}

function ranksOf({ parameters }: Plan): number[] {
  return parameters.map(({ rank }) => rank)
}

class RankDad extends Gathered {
  readonly #host: Host
  readonly #iterations: number
  readonly #threshold: number

  constructor({ host }: Making, desk: Desk, iterations: number, threshold: number) {
    super(desk)
    this.#host = host
    this.#iterations = iterations
    this.#threshold = threshold
  }

  protected most(plan: Plan): readonly number[] {
    return ranksOf(plan)
  }

  protected share({ plan, step }: Turn, matrices: readonly Given[]): Share[] {
    const { desk } = this
    const inner = plan.matrices.map(({ cols, rank }, i) => {
      const gradient = matrices[i]!
      return isWhole(gradient) ? 0 : rank * samplesIn(gradient, cols)
    })
    const most = Math.max(0, ...inner)
    const copies = matrices.reduce((sum, gradient) => sum + roomOf(gradient), 0)
    desk.reserve(copies + roomFor(plan.leftFloats, plan.rightFloats, most))
    const held = matrices.map((gradient) => copy(desk, gradient))
    const [left, right] = [desk.alloc(plan.leftFloats), desk.alloc(plan.rightFloats)]
    const room = desk.alloc(most)

    for (const matrix of plan.matrices) this.#host.fill(matrix, 'right', right, 0, step)
    for (let turn = 0; turn < this.#iterations; turn++) {
      this.#host.orthonormalize(plan, 'right', right, step)
      for (const [i, matrix] of plan.matrices.entries()) {
        const [p, q] = factorsOf(matrix, left, right)
        project(desk, p, held[i]!, q, matrix, room)
      }
      this.#host.orthonormalize(plan, 'left', left, step)
      for (const [i, matrix] of plan.matrices.entries()) {
        const [p, q] = factorsOf(matrix, left, right)
        backproject(desk, q, held[i]!, p, matrix, room)
      }
    }
    return plan.matrices.map((matrix) => {
      const [p, q] = factorsOf(matrix, left, right)
      return leading(p, q, matrix, this.#threshold)
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
function leading(
  p: Float32Array,
  q: Float32Array,
  { rows, cols, rank }: Parameter,
  threshold: number,
): Share {
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
