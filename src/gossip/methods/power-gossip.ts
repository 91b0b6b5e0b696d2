// PowerGossip: low-rank approximations of the difference between two nodes, by power iteration.
import { gatedRanks } from '../../layout.ts'
import { MOST_RANK } from '../../options.ts'
import { flag, integer, knownOptions, number } from '../../validate.ts'
import { checkGamma, type GossipMethod } from '../method.ts'
import { WholeCoding, wholeValues } from './plain.ts'

export interface PowerGossipOptions {
  /** Columns of the factors P and Q: 1 … 65,534. Clipped to each matrix's sides. Default 1. */
  readonly rank?: number
  /**
   * Half-steps in an iteration, each with frames of its own: 1 … 127. k half-steps are worth about
   * rank k. Default 1.
   */
  readonly iterations?: number
  /** Consensus step size γ, 0 < γ ≤ 2: see `optimalGamma` of lowrank/topology. Default 1. */
  readonly gamma?: number
  /**
   * false: each half-step begins with a new random factor, which converges far slower. Default
   * true.
   */
  readonly warmStart?: boolean
  /**
   * A matrix is compressed if and only if the floats sent for it in an iteration, times this
   * number, are fewer than its own. Default 2.
   */
  readonly minCompressionRate?: number
  /**
   * true: as the authors' program (epfml/powergossip). A matrix is a parameter's first axis against
   * the rest, whatever its shape. Iteration 0 exchanges only the parameters
   * without factors. Its half-steps count all the same, so with an odd `iterations` the first one
   * with factors orthonormalizes Q rather than P. Parameters without factors are mixed with γ = 1,
   * whatever `gamma` is. Default false.
   */
  readonly published?: boolean
}

const OPTIONS = ['rank', 'iterations', 'gamma', 'warmStart', 'minCompressionRate', 'published']

/**
 * PowerGossip (Vogels, Karimireddy & Jaggi, "Practical Low-Rank Communication Compression in
 * Decentralized Deep Learning", 2020). The two ends of an edge run power iteration on the
 * difference X − Y of their matrices: one half-step computes P̂ᵀ·(X − Y), the next one (X − Y)·Q̂.
 * Both ends move towards each other by the low-rank product. One adds what the other subtracts, so
 * the mean stays.
 *
 * If X − Y has rank `rank` or less, and nothing else changes the two, two half-steps recover it.
 *
 * A parameter without factors (a vector, or a matrix that compression would not make smaller)
 * travels whole, in the last half-step of an iteration.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function powerGossip(options: PowerGossipOptions = {}): GossipMethod {
  const {
    rank = 1,
    iterations = 1,
    gamma = 1,
    warmStart = true,
    minCompressionRate = 2,
    published = false,
  } = knownOptions(options, OPTIONS)
  integer('rank', rank, 1, MOST_RANK)
  integer('iterations', iterations, 1, 127)
  checkGamma(gamma)
  flag('warmStart', warmStart)
  flag('published', published)
  number('minCompressionRate', minCompressionRate, '≥ 0', (rate) => rate >= 0)
  return {
    name: 'powerGossip',
    options: { rank, iterations, gamma, warmStart, minCompressionRate, published },
    iterations,
    warmStart,
    gamma: { matrices: gamma, raws: published ? 1 : gamma },
    published,
    sequential: false,
    ranks: (specs) =>
      gatedRanks(specs, { minCompressionRate }, rank, {
        cost: (rows, cols, r) => (iterations * r * (rows + cols)) / 2,
      }),
    sends: wholeValues,
    coding: (layout) => new WholeCoding(layout),
  }
}
