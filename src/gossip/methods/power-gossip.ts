// PowerGossip: differences of low rank, by power iteration over an edge.
import { gatedRanks } from '../../layout.ts'
import { flag, integer, show } from '../../validate.ts'
import { checkGamma, type GossipMethod } from '../method.ts'
import { WholeCoding, wholeValues } from './plain.ts'

export interface PowerGossipOptions {
  /** Columns of the factors. Default 1. */
  readonly rank?: number
  /** Half-steps in an iteration, each with its frames: k of them are about worth rank k. Default 1. */
  readonly iterations?: number
  /** How far an iteration goes: see `optimalGamma` of lowrank/topology. Default 1. */
  readonly gamma?: number
  /** false: each half-step begins with new random factors, which is far slower. Default true. */
  readonly warmStart?: boolean
  /** A matrix is compressed iff floats really sent × this < its floats. Default 2. */
  readonly minCompressionRate?: number
  /**
   * true: as the authors' program. Step 0 exchanges vectors alone, iterations count from there, and
   * vectors are mixed with γ = 1 always. Default false.
   */
  readonly published?: boolean
}

/**
 * PowerGossip (Vogels, Karimireddy & Jaggi, "Practical Low-Rank Communication Compression in
 * Decentralized Deep Learning", 2020): the two ends of an edge take turns at power iteration on the
 * difference of their matrices, P̂ᵀ·(X − Y) in one half-step and (X − Y)·Q̂ in the next, and both move
 * towards each other by what they find. What one adds the other subtracts, so the mean stays.
 *
 * Where the difference of two ends has at most `rank` dimensions and nothing else moves them, two
 * half-steps know all of it.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function powerGossip(options: PowerGossipOptions = {}): GossipMethod {
  const { rank = 1, iterations = 1, gamma = 1, warmStart = true } = options
  const { minCompressionRate = 2, published = false } = options
  integer('rank', rank, 1, 65535)
  integer('iterations', iterations, 1, 127)
  checkGamma(gamma)
  flag('warmStart', warmStart)
  flag('published', published)
  if (typeof minCompressionRate !== 'number' || !(minCompressionRate >= 0)) {
    throw new RangeError(`"minCompressionRate": expected ≥ 0, got ${show(minCompressionRate)}`)
  }
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
