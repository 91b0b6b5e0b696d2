// What peers on an edge exchange: as differences of low rank, or whole.
import type { Spec } from '../method.ts'
import { integer, show } from '../options.ts'
import { gated } from '../plan.ts'

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

/** What neighbours exchange. Made by `powerGossip()` or `plain()`; its fields are the library's own. */
export interface GossipMethod {
  readonly name: string
  /** written out: both ends of an edge must agree on them */
  readonly options: Readonly<Record<string, unknown>>
  readonly iterations: number
  readonly warmStart: boolean
  /** γ of the matrices, and of what travels whole */
  readonly gamma: { readonly matrices: number; readonly raws: number }
  readonly published: boolean
  /** of each parameter; 0: it travels whole */
  ranks(specs: readonly Spec[]): readonly number[]
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
  rate('gamma', gamma)
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
    ranks: (specs) =>
      gated(specs, { minCompressionRate }, rank, {
        cost: (rows, cols, r) => (iterations * r * (rows + cols)) / 2,
      }),
  }
}

/**
 * Plain gossip: x ← x + γ·Σⱼ wⱼ·(xⱼ − x), everything sent whole to each neighbour. Keeps two more
 * copies of the model for each.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function plain({ gamma = 1 }: { readonly gamma?: number } = {}): GossipMethod {
  rate('gamma', gamma)
  return {
    name: 'plain',
    options: { gamma },
    iterations: 1,
    warmStart: true,
    gamma: { matrices: gamma, raws: gamma },
    published: false,
    ranks: (specs) => specs.map(() => 0),
  }
}

function rate(name: string, value: unknown): void {
  if (typeof value === 'number' && value > 0 && value <= 2) return
  throw new RangeError(`"${name}": expected more than 0, and at most 2, got ${show(value)}`)
}

function flag(name: string, value: unknown): void {
  if (typeof value === 'boolean') return
  throw new TypeError(`"${name}": expected true or false, got ${show(value)}`)
}
