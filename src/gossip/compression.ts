// The compression operators C(x) of Choco and DeepSqueeze: signs, or the largest entries (top-k).

import { largest } from '../algorithms/baselines/largest.ts'
import type { Layout } from '../backend.ts'
import { rawLengths } from '../layout.ts'
import { knownOptions, show } from '../validate.ts'

/** A message of one end: words travel as they are, the sender's wire type encodes the floats. */
export interface EdgePayload {
  readonly words: Uint32Array
  readonly floats: Float32Array
}

/**
 * A compression operator without state. Its arrays of values hold the parameters without factors,
 * one after another, unpadded.
 */
export interface Compression {
  /** 32-bit words in a message */
  readonly words: number
  /** lengths of the columns of floats in a message */
  readonly columns: readonly number[]
  /** into ← C(x) */
  compress(x: Float32Array, into: EdgePayload): void
  /** y ← y + the values that a message stands for */
  add(sent: EdgePayload, y: Float32Array): void
  /** Checks a message of the right length. @returns a description of the error, or null */
  refuse(sent: EdgePayload): string | null
}

/** Options of `choco` and `deepSqueeze`. Both ends of an edge must agree on them. */
export interface CompressedOptions {
  /**
   * 'sign': each entry's sign, and each parameter's mean magnitude.
   *
   * { keep }: the entries with the largest magnitudes. `keep` is their fraction of each parameter's
   * entries, 0 < keep ≤ 1; at least one entry of each parameter travels.
   */
  readonly compression: 'sign' | { readonly keep: number }
  /**
   * Consensus step size γ, 0 < γ ≤ 2. It has to be tuned. The papers use 0.45 for Choco with signs,
   * 0.0375 for Choco with 1 % of the entries, and 0.01 for DeepSqueeze.
   */
  readonly gamma: number
}

/**
 * Checks the option `compression`.
 *
 * @returns a function that creates the operator for a layout
 * @throws TypeError  unless it is 'sign' or an object with `keep`
 * @throws RangeError  unless 0 < keep ≤ 1
 */
export function compressionOf(compression: unknown): (layout: Layout) => Compression {
  if (compression === 'sign') return (layout) => new Signs(layout)
  const { keep } = knownOptions(
    compression as Exclude<CompressedOptions['compression'], 'sign'>,
    ['keep'],
    'compression',
    "'sign' or ",
  )
  if (typeof keep === 'number' && keep > 0 && keep <= 1)
    return (layout) => new Largest(layout, keep)
  throw new RangeError(`"compression.keep": expected more than 0, at most 1, got ${show(keep)}`)
}

/**
 * Signs: C(x) = mean|x|·sign(x), for each parameter by itself.
 *
 * The message has one bit per entry, in order, from the lowest bit of each word (0: ≥ 0, 1: < 0),
 * and one float per parameter, its mean magnitude.
 */
export class Signs implements Compression {
  readonly words: number
  readonly columns: readonly number[]
  readonly #lengths: readonly number[]

  constructor(layout: Layout) {
    this.#lengths = rawLengths(layout)
    this.words = Math.ceil(layout.rawFloats / 32)
    this.columns = this.#lengths.map(() => 1) // so that int8 scales each magnitude by itself
  }

  compress(x: Float32Array, { words, floats }: EdgePayload): void {
    words.fill(0)
    let at = 0
    for (const [i, length] of this.#lengths.entries()) {
      let sum = 0
      for (const end = at + length; at < end; at++) {
        sum += Math.abs(x[at]!)
        if (x[at]! < 0) words[at >>> 5]! |= 1 << (at & 31)
      }
      floats[i] = sum / length
    }
  }

  add({ words, floats }: EdgePayload, y: Float32Array): void {
    let at = 0
    for (const [i, length] of this.#lengths.entries()) {
      const norm = floats[i]!
      for (const end = at + length; at < end; at++) {
        y[at]! += (words[at >>> 5]! >>> (at & 31)) & 1 ? -norm : norm
      }
    }
  }

  refuse({ words, floats }: EdgePayload): string | null {
    const negative = floats.findIndex((norm) => norm < 0)
    if (negative >= 0) return `norm ${negative}: expected ≥ 0, got ${floats[negative]}`
    const used = this.#lengths.reduce((a, b) => a + b, 0) % 32 // bits of the last word
    if (used > 0 && words.at(-1)! >>> used !== 0) return 'bits after the last entry are not zero'
    return null
  }
}

/**
 * Top-k: the k = max(1, ⌊keep · length⌋) entries of each parameter with the largest magnitudes.
 *
 * The message has their indices as words and their values as floats, by parameter and ascending
 * index. An index counts from the first entry of the first parameter.
 */
export class Largest implements Compression {
  readonly words: number
  readonly columns: readonly number[]
  readonly #lengths: readonly number[]

  constructor(layout: Layout, keep: number) {
    this.#lengths = rawLengths(layout)
    this.columns = this.#lengths.map((length) => Math.max(1, Math.floor(keep * length)))
    this.words = this.columns.reduce((a, b) => a + b, 0)
  }

  compress(x: Float32Array, { words, floats }: EdgePayload): void {
    const bits = new Uint32Array(x.buffer, x.byteOffset, x.length)
    let [from, at] = [0, 0]
    for (const [i, length] of this.#lengths.entries()) {
      const count = this.columns[i]!
      largest(bits, from, length, words.subarray(at, at + count))
      from += length
      at += count
    }
    for (let j = 0; j < words.length; j++) floats[j] = x[words[j]!]!
  }

  add({ words, floats }: EdgePayload, y: Float32Array): void {
    for (let j = 0; j < words.length; j++) y[words[j]!]! += floats[j]!
  }

  refuse({ words }: EdgePayload): string | null {
    let [from, at] = [0, 0]
    for (const [i, length] of this.#lengths.entries()) {
      let least = from
      for (const end = at + this.columns[i]!; at < end; at++) {
        const index = words[at]!
        if (index < least || index >= from + length) {
          return `index ${at}: expected ${least} … ${from + length - 1}, got ${index}`
        }
        least = index + 1
      }
      from += length
    }
    return null
  }
}
