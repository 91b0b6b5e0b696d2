// What makes few bytes of many values: signs, or the largest.

import { largest } from '../algorithms/baselines/largest.ts'
import type { Layout } from '../backend.ts'
import { rawLengths } from '../layout.ts'
import { show } from '../validate.ts'

/** What an end sends: words as they are, and floats that its wire type encodes. */
export interface EdgePayload {
  readonly words: Uint32Array
  readonly floats: Float32Array
}

/** What makes few bytes of many values, and keeps nothing. */
export interface Compression {
  readonly words: number
  readonly columns: readonly number[]
  compress(x: Float32Array, into: EdgePayload): void
  /** y ← y + what was sent */
  add(sent: EdgePayload, y: Float32Array): void
  refuse(sent: EdgePayload): string | null
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
 * The compression that is asked for.
 *
 * @throws TypeError, RangeError
 */
export function compressionOf(compression: unknown): (layout: Layout) => Compression {
  if (compression === 'sign') return (layout) => new Signs(layout)
  if (typeof compression !== 'object' || compression === null || !('keep' in compression)) {
    throw new TypeError(`"compression": expected 'sign' or { keep }, got ${show(compression)}`)
  }
  const { keep } = compression
  if (typeof keep === 'number' && keep > 0 && keep <= 1)
    return (layout) => new Largest(layout, keep)
  throw new RangeError(`"compression.keep": expected more than 0, at most 1, got ${show(keep)}`)
}

/** Of each entry its sign (0: +), of each parameter its mean magnitude. */
export class Signs implements Compression {
  readonly words: number
  readonly columns: readonly number[]
  readonly #lengths: readonly number[]

  constructor(layout: Layout) {
    this.#lengths = rawLengths(layout)
    this.words = Math.ceil(layout.rawFloats / 32)
    this.columns = this.#lengths.map(() => 1) // a scale of its own on any wire
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
    const used = this.#lengths.reduce((a, b) => a + b, 0) % 32
    if (used > 0 && words.at(-1)! >>> used !== 0) return 'bits after the last entry are not zero'
    return null
  }
}

/** Of each parameter the max(1, ⌊keep · length⌋) entries with the largest magnitudes. */
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
