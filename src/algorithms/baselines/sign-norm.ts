// Sign + norm: of each entry its sign, of each parameter one magnitude. Everyone gets everyone's.
// SignAndNormReducer of epfml/powersgd, paper-code; EF-signSGD (Karimireddy et al. 2019, arXiv 1901.09847).

import type { Incoming, Outgoing } from '../../algorithm.ts'
import type { Layout, Parameter } from '../../backend.ts'
import type { Part } from '../../codec/gathered.ts'
import { gathering } from '../../codec/gathered.ts'
import type { Method } from '../../options.ts'
import { type FlatExchange, flat } from './flat.ts'

/**
 * Each entry travels as one bit, and comes out as ± the mean magnitude of its parameter. The mean, not
 * the L1 norm that the paper's code sends, for it is as small as the entries: no f16 overflows.
 *
 * Zero comes out as +, and what is kept accounts for that. With `published`, as in the paper's code, it
 * does not: an entry that is exactly zero stays zero in the residual though the others add to it, and
 * so the fleet's sum is no longer kept.
 *
 * Memory: two arrays as large as the model in float32, besides what is sent.
 */
export function signNorm({ published = false }: { readonly published?: boolean } = {}): Method {
  if (typeof published !== 'boolean') {
    throw new TypeError(`"published": expected true or false, got ${published}`)
  }
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
  /** entry i: bit i mod 32 of word ⌊i / 32⌋; set: it is negative */
  readonly #bits: Uint32Array
  /** of each parameter */
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
    const columns = this.#layout.raws.map(() => 1) // a scale of its own on any wire
    const own = { words: bits, floats: this.#norms, columns }
    return { gathered: gathering(own, (part) => this.#refuse(part)) }
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

  #refuse({ words, floats }: Part): string | null {
    const [bits, norms] = [this.#bits.length, this.#norms.length]
    if (words.length !== bits || floats.length !== norms) {
      return `expected ${bits} words and ${norms} norms, got ${words.length} and ${floats.length}`
    }
    const negative = floats.findIndex((norm) => norm < 0)
    if (negative >= 0) return `norm ${negative}: expected ≥ 0, got ${floats[negative]}`
    const used = this.#layout.rawFloats % 32
    if (used > 0 && words.at(-1)! >>> used !== 0) return 'bits after the last entry are not zero'
    return null
  }

  #each(visit: (i: number, parameter: Parameter) => void): void {
    for (const [i, parameter] of this.#layout.raws.entries()) visit(i, parameter)
  }
}

/** Without a branch: half of the guesses would be wrong, for signs are as good as random. */
function signed(bits: Uint32Array, j: number, norm: number): number {
  return (1 - 2 * ((bits[j >>> 5]! >>> (j & 31)) & 1)) * norm
}
