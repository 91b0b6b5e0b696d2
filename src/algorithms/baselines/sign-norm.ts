// Sign + norm: one bit for the sign of each entry, and one magnitude for each parameter. Every
// worker gets those of all workers. SignAndNormReducer of epfml/powersgd, paper-code; EF-signSGD
// (Karimireddy et al. 2019, arXiv 1901.09847).

import type { Incoming, Outgoing } from '../../algorithm.ts'
import type { Layout, Parameter } from '../../backend.ts'
import { type Part, packData, unpackPart } from '../../codec/gathered.ts'
import type { Method } from '../../options.ts'
import { flag, knownOptions } from '../../validate.ts'
import { type FlatExchange, flat } from './flat.ts'

/**
 * Sends the sign of each entry as one bit, and the mean magnitude of each parameter. An entry is
 * decoded as ± that mean. The paper's code sends the L1 norm instead; the mean is no larger than
 * the largest entry, so it does not overflow f16.
 *
 * An entry that is exactly zero is decoded as +mean, and the residual accounts for that. With
 * `published` the residual of such an entry stays zero, as in the paper's code, although the update
 * contains +mean. Then updates and residuals no longer sum to the gradients.
 *
 * Memory: two float32 arrays as large as the model, besides what is sent.
 *
 * Source: SignAndNormReducer of epfml/powersgd, paper-code; arXiv 1901.09847.
 *
 * @param options.published  whether to keep residuals of zero as the paper's code does. Default
 *   false.
 * @throws TypeError  naming the option
 */
export function signNorm(options: { readonly published?: boolean } = {}): Method {
  const { published = false } = knownOptions(options, ['published'])
  flag('published', published)
  return flat({
    name: 'signNorm',
    options: { published },
    round: ({ raws, rawFloats }) => ({
      kind: 'gathered',
      words: Math.ceil(rawFloats / 32),
      columns: raws.map(() => 1),
    }),
    exchange: (layout) => new SignNorm(layout, published),
  })
}

class SignNorm implements FlatExchange {
  readonly #layout: Layout
  readonly #published: boolean
  /** the sign of entry i is bit i mod 32 of word ⌊i / 32⌋; 1: it is negative */
  readonly #bits: Uint32Array
  /** the mean magnitude of each parameter, as other workers decode it once the frame is made */
  readonly #norms: Float32Array

  constructor(layout: Layout, published: boolean) {
    this.#layout = layout
    this.#published = published
    this.#bits = new Uint32Array(Math.ceil(layout.rawFloats / 32))
    this.#norms = new Float32Array(layout.raws.length)
  }

  send(m: Float32Array): Outgoing {
    const bits = this.#bits.fill(0)
    this.#each((i, { raw, length }) => {
      let sum = 0
      for (let j = raw; j < raw + length; j++) {
        const x = m[j]!
        sum += Math.abs(x)
        if (x < 0) bits[j >>> 5] = bits[j >>> 5]! | (1 << (j & 31))
      }
      this.#norms[i] = sum / length
    })
    const columns = this.#layout.raws.map(() => 1) // each has its own scale on the wire
    const ownPart = { words: bits, floats: this.#norms, columns }
    return {
      gathered: {
        pack: (type) => packData(type, ownPart),
        unpack: unpackPart,
        accepts: (part) => this.#accepts(part),
      },
    }
  }

  deflate(m: Float32Array): void {
    this.#each((i, { raw, length }) => {
      const norm = this.#norms[i]!
      for (let j = raw; j < raw + length; j++) {
        if (this.#published && m[j] === 0) continue
        m[j] = m[j]! - signed(this.#bits, j, norm)
      }
    })
  }

  receive({ parts, weight: total }: Incoming, update: Float32Array): void {
    for (const { weight, words, floats } of parts) {
      this.#each((i, { raw, length }) => {
        const norm = (weight / total) * floats[i]!
        for (let j = raw; j < raw + length; j++) update[j] = update[j]! + signed(words, j, norm)
      })
    }
  }

  /** Refuses negative norms, and bits after the last entry. */
  #accepts({ words, floats }: Part): boolean {
    if (words.length !== this.#bits.length || floats.length !== this.#norms.length) return false
    const used = this.#layout.rawFloats % 32
    return floats.every((norm) => norm >= 0) && (used === 0 || words.at(-1)! >>> used === 0)
  }

  /** Calls `visit` for every parameter. */
  #each(visit: (i: number, parameter: Parameter) => void): void {
    for (const [i, parameter] of this.#layout.raws.entries()) visit(i, parameter)
  }
}

/**
 * Entry j as decoded: norm, or −norm if its bit is 1. It has no branch, because signs are as good
 * as random and half of the predictions would be wrong.
 */
function signed(bits: Uint32Array, j: number, norm: number): number {
  return (1 - 2 * ((bits[j >>> 5]! >>> (j & 31)) & 1)) * norm
}
