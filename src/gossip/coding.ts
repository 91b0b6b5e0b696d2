// How what travels outside factors is sent over an edge, and what both ends make of it.

import type { Layout } from '../backend.ts'
import { rawLengths } from '../layout.ts'
import type { Compression, EdgePayload } from './compression.ts'
import type { Noise } from './noise.ts'

/** An end of the edge between lo and hi, lo < hi. */
export interface EdgeEnd {
  readonly lo: number
  readonly hi: number
  /** true: this end is hi */
  readonly own: boolean
  readonly noise: Noise
}

/** One end's part of an edge's coding; it has a state of its own. */
export interface Coding {
  /** how many words travel, and the lengths of the columns of floats */
  readonly words: number
  readonly columns: readonly number[]
  /** what the ends are to move towards each other by, of the last exchange: in order, unpadded */
  readonly difference: Float32Array
  /** what a state has of it: arrays like `difference`, by name */
  readonly kept: Readonly<Record<string, Float32Array>>
  /**
   * Writes what is to be sent of these values.
   *
   * @param step  number of the iteration
   */
  code(x: Float32Array, into: EdgePayload, step: number): void
  /** What is wrong with what the other end sent, of as many words and floats as there must be. */
  refuse(sent: EdgePayload): string | null
  /**
   * Takes over an exchange.
   *
   * @param lo, hi  what the ends sent, as decoded
   * @param own  true: this end is hi
   * @param x  this node's values as coded, and, where edges are applied one after another, moved by those before
   * @returns false if a difference is too large, as on the other end: there is none to move by, and else nothing
   *   has changed
   */
  commit(lo: EdgePayload, hi: EdgePayload, own: boolean, x: Float32Array): boolean
  /** Takes the last exchange back. */
  retract(): void
  /** Begins anew. */
  restart(): void
}

/** Differences so large are left alone, by both ends: with them parameters might overflow. */
const LIMIT = 2 ** 100

/** difference ← hi − lo; zeros, and false, if one is too large */
export function subtract(difference: Float32Array, hi: Float32Array, lo: Float32Array): boolean {
  for (let i = 0; i < difference.length; i++) {
    const d = Math.fround(hi[i]! - lo[i]!)
    difference[i] = d
    if (Math.abs(d) < LIMIT) continue
    difference.fill(0)
    return false
  }
  return true
}

/** Values as they are. */
export class WholeCoding implements Coding {
  readonly words = 0
  readonly columns: readonly number[]
  readonly difference: Float32Array
  readonly kept: Coding['kept']

  constructor(layout: Layout) {
    this.columns = rawLengths(layout)
    this.difference = new Float32Array(layout.rawFloats)
    this.kept = { difference: this.difference }
  }

  code(x: Float32Array, { floats }: EdgePayload): void {
    floats.set(x)
  }

  refuse(): null {
    return null
  }

  commit(lo: EdgePayload, hi: EdgePayload): boolean {
    return subtract(this.difference, hi.floats, lo.floats)
  }

  retract(): void {}

  restart(): void {}
}

/**
 * Choco (Koloskova, Stich & Jaggi, "Decentralized Stochastic Optimization and Gossip Algorithms with
 * Compressed Communication", 2019): both ends keep the same estimates x̂ of both, each sends
 * C(x − x̂) of its own, and they move by what the estimates differ. Published with one estimate for
 * all edges of a node; with one for each edge it is the same as long as all frames arrive, and
 * frames may get lost.
 */
export class ChocoCoding implements Coding {
  readonly words: number
  readonly columns: readonly number[]
  readonly difference: Float32Array
  readonly kept: Coding['kept']
  readonly #own: 'lo' | 'hi'
  readonly #compression: Compression
  /** of either end; and as they were before the last exchange */
  readonly #now: { readonly lo: Float32Array; readonly hi: Float32Array }
  readonly #before: { readonly lo: Float32Array; readonly hi: Float32Array }
  readonly #scratch: Float32Array

  constructor(layout: Layout, compression: Compression, own: boolean) {
    const zeros = () => new Float32Array(layout.rawFloats)
    this.words = compression.words
    this.columns = compression.columns
    this.difference = zeros()
    this.#compression = compression
    this.#own = own ? 'hi' : 'lo'
    this.#now = { lo: zeros(), hi: zeros() }
    this.#before = { lo: zeros(), hi: zeros() }
    this.#scratch = zeros()
    const [now, before] = [this.#now, this.#before]
    this.kept = {
      difference: this.difference,
      'xhat-lo': now.lo,
      'xhat-hi': now.hi,
      'xhat-lo-before': before.lo,
      'xhat-hi-before': before.hi,
    }
  }

  code(x: Float32Array, into: EdgePayload): void {
    const estimate = this.#now[this.#own]
    for (let i = 0; i < x.length; i++) this.#scratch[i] = x[i]! - estimate[i]!
    this.#compression.compress(this.#scratch, into)
  }

  refuse(sent: EdgePayload): string | null {
    return this.#compression.refuse(sent)
  }

  commit(lo: EdgePayload, hi: EdgePayload): boolean {
    const [now, before] = [this.#now, this.#before]
    before.lo.set(now.lo)
    before.hi.set(now.hi)
    this.#compression.add(lo, now.lo)
    this.#compression.add(hi, now.hi)
    if (subtract(this.difference, now.hi, now.lo)) return true
    this.retract()
    return false
  }

  retract(): void {
    this.#now.lo.set(this.#before.lo)
    this.#now.hi.set(this.#before.hi)
  }

  restart(): void {
    this.#now.lo.fill(0)
    this.#now.hi.fill(0)
  }
}

/**
 * DeepSqueeze (Tang et al., "DeepSqueeze: Decentralization Meets Error-Compensated Compression", 2019):
 * each end sends C(x + δ) and keeps δ, what that left; they move by what the compressed differ.
 * Published with one δ for all edges of a node: see `Estimates`.
 */
export class DeepSqueezeCoding implements Coding {
  readonly words: number
  readonly columns: readonly number[]
  readonly difference: Float32Array
  readonly kept: Coding['kept']
  readonly #compression: Compression
  /** x + δ, as sent last; δ, and as it was before the last exchange */
  readonly #value: Float32Array
  readonly #delta: Float32Array
  readonly #before: Float32Array
  readonly #lo: Float32Array
  readonly #hi: Float32Array

  constructor(layout: Layout, compression: Compression) {
    const zeros = () => new Float32Array(layout.rawFloats)
    this.words = compression.words
    this.columns = compression.columns
    this.difference = zeros()
    this.#compression = compression
    this.#value = zeros()
    this.#delta = zeros()
    this.#before = zeros()
    this.#lo = zeros()
    this.#hi = zeros()
    const [delta, before] = [this.#delta, this.#before]
    this.kept = { difference: this.difference, delta, 'delta-before': before }
  }

  code(x: Float32Array, into: EdgePayload): void {
    for (let i = 0; i < x.length; i++) this.#value[i] = x[i]! + this.#delta[i]!
    this.#compression.compress(this.#value, into)
  }

  refuse(sent: EdgePayload): string | null {
    return this.#compression.refuse(sent)
  }

  commit(lo: EdgePayload, hi: EdgePayload, own: boolean): boolean {
    this.#compression.add(lo, this.#lo.fill(0))
    this.#compression.add(hi, this.#hi.fill(0))
    if (!subtract(this.difference, this.#hi, this.#lo)) return false
    const [delta, sent] = [this.#delta, own ? this.#hi : this.#lo]
    this.#before.set(delta)
    for (let i = 0; i < delta.length; i++) delta[i] = this.#value[i]! - sent[i]!
    return true
  }

  retract(): void {
    this.#delta.set(this.#before)
  }

  restart(): void {
    this.#delta.fill(0)
  }
}
