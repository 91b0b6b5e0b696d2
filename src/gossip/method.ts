// What peers on an edge exchange: as differences of low rank, or whole.

import type { Layout } from '../backend.ts'
import { gatedRanks, rawLengths } from '../layout.ts'
import type { Spec } from '../options.ts'
import { integer, show } from '../validate.ts'
import { ChocoCoding, type Coding, DeepSqueezeCoding, type EdgeEnd, WholeCoding } from './coding.ts'
import { type Compression, Largest, Signs } from './compression.ts'
import { MoniquaCoding, PublishedMoniquaCoding, wordsOf } from './methods/moniqua.ts'

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

/** What neighbours exchange. Made by `powerGossip()`, `plain()`, …; its fields are the library's own. */
export interface GossipMethod {
  readonly name: string
  /** written out: both ends of an edge must agree on them */
  readonly options: Readonly<Record<string, unknown>>
  readonly iterations: number
  readonly warmStart: boolean
  /** γ of what has factors, and of all else */
  readonly gamma: { readonly matrices: number; readonly raws: number }
  readonly published: boolean
  /** true: edges are applied one after another, each to what those before have left */
  readonly sequential: boolean
  /** of each parameter; 0: it has no factors */
  ranks(specs: readonly Spec[]): readonly number[]
  /** What of the values without factors an end sends: so many words, and columns of floats. */
  sends(layout: Layout): { readonly words: number; readonly columns: readonly number[] }
  /** For what has no factors, at an end of an edge. */
  coding(layout: Layout, end: EdgeEnd): Coding
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
    sequential: false,
    ranks: (specs) =>
      gatedRanks(specs, { minCompressionRate }, rank, {
        cost: (rows, cols, r) => (iterations * r * (rows + cols)) / 2,
      }),
    sends: whole,
    coding: (layout) => new WholeCoding(layout),
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
  return coded('plain', gamma, {}, whole, (layout) => new WholeCoding(layout))
}

/** How Choco and DeepSqueeze compress. */
export interface CompressedOptions {
  /**
   * 'sign': each entry's sign, and the mean magnitude of each parameter. { keep }: the part of each
   * parameter's entries that travel, those with the largest magnitudes, one at least.
   */
  readonly compression: 'sign' | { readonly keep: number }
  /** To be tuned: 0.45 with signs, 0.0375 for 1 % of the entries (Choco), 0.01 (DeepSqueeze) in the papers. */
  readonly gamma: number
}

/**
 * Choco (Koloskova, Stich & Jaggi, "Decentralized Stochastic Optimization and Gossip Algorithms with
 * Compressed Communication", 2019): of each node the others have an estimate, and what travels is the
 * compressed difference to that. Keeps six copies of the model for each neighbour.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function choco({ compression, gamma }: CompressedOptions): GossipMethod {
  const compressionOf = compressing(compression)
  rate('gamma', gamma)
  return coded('choco', gamma, { compression }, compressionOf, (layout, { own }) => {
    return new ChocoCoding(layout, compressionOf(layout), own)
  })
}

/**
 * DeepSqueeze (Tang et al., "DeepSqueeze: Decentralization Meets Error-Compensated Compression", 2019):
 * parameters travel compressed, with what compression left of them the last time. Keeps six copies of the
 * model for each neighbour.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function deepSqueeze({ compression, gamma }: CompressedOptions): GossipMethod {
  const compressionOf = compressing(compression)
  rate('gamma', gamma)
  return coded('deepSqueeze', gamma, { compression }, compressionOf, (layout) => {
    return new DeepSqueezeCoding(layout, compressionOf(layout))
  })
}

export interface MoniquaOptions {
  /** What any two neighbours' numbers differ by at most: 2⁻¹⁰⁰ … 2⁹⁶. Rounding errs by up to 2θ. */
  readonly theta: number
  /** How far an iteration goes. Default 1. */
  readonly gamma?: number
  /**
   * true: as the program of PowerGossip's authors. Each node has noise of its own, and applies its
   * neighbours one after another, each to what those before have left: the mean is not kept. Default false.
   */
  readonly published?: boolean
}

/**
 * Moniqua (Lu & De Sa, "Moniqua: Modulo Quantized Communication in Decentralized SGD", 2020) with two bits
 * an entry: what travels is x modulo 6θ, rounded at random to a multiple of 2θ. The ends of an edge
 * round with the same noise, so the mean is kept even where θ was too small (then neighbours may move
 * the wrong way), and differences of up to 2θ come out right in expectation. Nodes agree up to about
 * 2γwθ, which is what one exchange moves them by. Keeps one copy of the model for each neighbour.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function moniqua({ theta, gamma = 1, published = false }: MoniquaOptions): GossipMethod {
  if (typeof theta !== 'number' || !(theta >= 2 ** -100 && theta <= 2 ** 96)) {
    throw new RangeError(`"theta": expected 2⁻¹⁰⁰ … 2⁹⁶, got ${show(theta)}`)
  }
  rate('gamma', gamma)
  flag('published', published)
  const method = coded('moniqua', gamma, { theta, published }, moduli, (layout, end) => {
    return published
      ? new PublishedMoniquaCoding(layout, theta, end)
      : new MoniquaCoding(layout, theta, end)
  })
  return { ...method, sequential: published }
}

/** A method without factors. */
function coded(
  name: string,
  gamma: number,
  options: Readonly<Record<string, unknown>>,
  sends: GossipMethod['sends'],
  coding: GossipMethod['coding'],
): GossipMethod {
  return {
    name,
    options: { ...options, gamma },
    iterations: 1,
    warmStart: true,
    gamma: { matrices: gamma, raws: gamma },
    published: false,
    sequential: false,
    ranks: (specs) => specs.map(() => 0),
    sends,
    coding,
  }
}

function whole(layout: Layout) {
  return { words: 0, columns: rawLengths(layout) }
}

function moduli({ rawFloats }: Layout) {
  return { words: wordsOf(rawFloats), columns: [] }
}

function compressing(compression: unknown): (layout: Layout) => Compression {
  if (compression === 'sign') return (layout) => new Signs(layout)
  if (typeof compression !== 'object' || compression === null || !('keep' in compression)) {
    throw new TypeError(`"compression": expected 'sign' or { keep }, got ${show(compression)}`)
  }
  const { keep } = compression
  if (typeof keep === 'number' && keep > 0 && keep <= 1)
    return (layout) => new Largest(layout, keep)
  throw new RangeError(`"compression.keep": expected more than 0, at most 1, got ${show(keep)}`)
}

function rate(name: string, value: unknown): void {
  if (typeof value === 'number' && value > 0 && value <= 2) return
  throw new RangeError(`"${name}": expected more than 0, and at most 2, got ${show(value)}`)
}

function flag(name: string, value: unknown): void {
  if (typeof value === 'boolean') return
  throw new TypeError(`"${name}": expected true or false, got ${show(value)}`)
}
