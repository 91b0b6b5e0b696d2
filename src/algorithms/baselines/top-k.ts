// Top K: each worker sends the entries of M with the largest magnitudes, and where they are. Everyone
// gets everyone's. TopKReducer of epfml/powersgd, paper-code.

import type { Incoming, Outgoing } from '../../algorithm.ts'
import type { Layout } from '../../backend.ts'
import type { Part } from '../../codec/gathered.ts'
import { gathering } from '../../codec/gathered.ts'
import type { Method } from '../../options.ts'
import { show } from '../../validate.ts'
import { type FlatExchange, flat, subtractAt } from './flat.ts'
import { largest } from './largest.ts'

/**
 * Of each parameter, k = max(1, ⌊ratio · length / 2⌋) entries: half, for an index costs as much as a
 * value in float32. Of equal magnitudes those that come first. The paper's Table 4 has ratios 1/32 and
 * 1/136.
 *
 * Memory: two arrays as large as the model in float32, besides what is sent.
 *
 * @param options.ratio  of what is sent to the whole model: above 0, at most 1
 * @throws TypeError, RangeError  if it is none
 */
export function topK({ ratio }: { readonly ratio: number }): Method {
  if (typeof ratio !== 'number') {
    throw new TypeError(`"ratio": expected a number, got ${show(ratio)}`)
  }
  if (!(ratio > 0 && ratio <= 1)) {
    throw new RangeError(`"ratio": expected a number above 0, at most 1, got ${ratio}`)
  }
  const counts = (layout: Layout) =>
    layout.raws.map(({ length }) => Math.max(1, Math.floor(0.5 * ratio * length)))
  return flat({
    name: 'topK',
    options: { ratio },
    round(layout) {
      const columns = counts(layout)
      return { kind: 'gathered', words: sum(columns), columns }
    },
    exchange: (layout) => new TopK(layout, counts(layout)),
  })
}

class TopK implements FlatExchange {
  readonly #layout: Layout
  /** entries to send of each parameter */
  readonly #counts: readonly number[]
  /** where they are among all parameters, ascending */
  readonly #indices: Uint32Array
  readonly #values: Float32Array

  constructor(layout: Layout, counts: readonly number[]) {
    this.#layout = layout
    this.#counts = counts
    this.#indices = new Uint32Array(sum(counts))
    this.#values = new Float32Array(sum(counts))
  }

  send(m: Float32Array): Outgoing {
    const bits = new Uint32Array(m.buffer, m.byteOffset, m.length)
    let at = 0
    for (const [i, { raw, length }] of this.#layout.raws.entries()) {
      const count = this.#counts[i]!
      largest(bits, raw, length, this.#indices.subarray(at, at + count))
      at += count
    }
    for (let j = 0; j < this.#values.length; j++) this.#values[j] = m[this.#indices[j]!]!
    const own = { words: this.#indices, floats: this.#values, columns: this.#counts }
    return { gathered: gathering(own, (part) => this.#refuse(part)) }
  }

  deflate(m: Float32Array): void {
    subtractAt(m, this.#indices, this.#values)
  }

  receive({ parts, weight: total }: Incoming, update: Float32Array): void {
    for (const { weight, words, floats } of parts) {
      const share = weight / total
      for (let j = 0; j < words.length; j++) {
        update[words[j]!] = update[words[j]!]! + share * floats[j]!
      }
    }
  }

  #refuse({ words, floats }: Part): string | null {
    const want = this.#indices.length
    if (words.length !== want || floats.length !== want) {
      return `expected ${want} indices and values, got ${words.length} and ${floats.length}`
    }
    let at = 0
    for (const [i, { raw, length }] of this.#layout.raws.entries()) {
      let least = raw
      for (const end = at + this.#counts[i]!; at < end; at++) {
        const index = words[at]!
        if (index < least || index >= raw + length) {
          return `index ${at}: expected ${least} … ${raw + length - 1}, got ${index}`
        }
        least = index + 1
      }
    }
    return null
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0)
}
