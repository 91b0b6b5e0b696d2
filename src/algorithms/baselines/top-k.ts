// Top K: each worker sends the entries of M with the largest magnitudes and their indices, and
// every worker gets those of all workers. TopKReducer of epfml/powersgd, paper-code.

import type { Incoming, Outgoing } from '../../algorithm.ts'
import type { Layout } from '../../backend.ts'
import { type Part, packData, unpackPart } from '../../codec/gathered.ts'
import type { Method } from '../../options.ts'
import { knownOptions, number } from '../../validate.ts'
import { type FlatExchange, flat, subtractAt } from './flat.ts'
import { largest } from './largest.ts'

/**
 * Sends the k entries with the largest magnitudes of each parameter, k = max(1, ⌊ratio · length /
 * 2⌋). The factor ½ is there because an index costs as much as a float32 value. Of equal magnitudes
 * the first ones are sent. Table 4 of the paper has ratios 1/32 and 1/136.
 *
 * Memory: two float32 arrays as large as the model, besides what is sent.
 *
 * Source: TopKReducer of epfml/powersgd, paper-code; arXiv 1905.13727, Table 4.
 *
 * @param options.ratio  sent floats and indices ÷ floats of the model: above 0, at most 1
 * @throws TypeError, RangeError  naming the option
 */
export function topK(options: { readonly ratio: number }): Method {
  const { ratio } = knownOptions(options, ['ratio'])
  number('ratio', ratio, 'a number above 0, at most 1', (x) => x > 0 && x <= 1)
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
  /** the number of entries to send of each parameter */
  readonly #counts: readonly number[]
  /** the indices of the entries of this step, counted over all parameters end to end; ascending */
  readonly #indices: Uint32Array
  /** their values, as other workers decode them once the frame is made */
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
    const ownPart = { words: this.#indices, floats: this.#values, columns: this.#counts }
    return {
      gathered: {
        pack: (type) => packData(type, ownPart),
        unpack: unpackPart,
        accepts: (part) => this.#accepts(part),
      },
    }
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

  /** Refuses indices outside their parameter, and indices that do not ascend. */
  #accepts({ words, floats }: Part): boolean {
    const expected = this.#indices.length
    if (words.length !== expected || floats.length !== expected) return false
    let at = 0
    for (const [i, { raw, length }] of this.#layout.raws.entries()) {
      let least = raw
      for (const end = at + this.#counts[i]!; at < end; at++) {
        const index = words[at]!
        if (index < least || index >= raw + length) return false
        least = index + 1
      }
    }
    return true
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0)
}
