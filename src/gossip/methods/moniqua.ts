// Moniqua: values modulo a multiple of what neighbours differ by, in two bits.
import type { Layout } from '../../backend.ts'
import { flag, show } from '../../validate.ts'
import type { Coding, EdgeEnd } from '../coding.ts'
import type { EdgePayload } from '../compression.ts'
import { checkGamma, codedMethod, type GossipMethod } from '../method.ts'

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
  checkGamma(gamma)
  flag('published', published)
  const method = codedMethod('moniqua', gamma, { theta, published }, moduli, (layout, end) => {
    return published
      ? new PublishedMoniquaCoding(layout, theta, end)
      : new MoniquaCoding(layout, theta, end)
  })
  return { ...method, sequential: published }
}

function moduli({ rawFloats }: Layout) {
  return { words: wordsOf(rawFloats), columns: [] }
}

/** Steps of the quantiser in the modulus. Two bits say 0 … 3, of which 0 and 3 are the same modulo it. */
const STEPS = 3

/** Moduli in θ: with a step of δ = 1/3 of it, B = 2θ / (1 − 2δ). */
const MODULUS = 6

/**
 * Both ends round with the same noise, to x̂ = B·((⌊(x/B + ½)/δ + u⌋)·δ − ½), and so if they differ by
 * up to δ·B = 2θ, then x̂ by a step at most, and its number modulo 3 says which way. Both compute that
 * from what both sent; its expectation is what they differ by.
 */
export class MoniquaCoding implements Coding {
  readonly words: number
  readonly columns: readonly number[] = []
  readonly difference: Float32Array
  readonly kept: Coding['kept']
  protected readonly modulus: number
  readonly #layout: Layout
  readonly #noise: (parameter: number, step: number, length: number) => Float32Array

  constructor(
    layout: Layout,
    theta: number,
    { lo, hi, noise }: Pick<EdgeEnd, 'lo' | 'hi' | 'noise'>,
  ) {
    this.words = wordsOf(layout.rawFloats)
    this.difference = new Float32Array(layout.rawFloats)
    this.kept = { difference: this.difference }
    this.modulus = MODULUS * theta
    this.#layout = layout
    this.#noise = (...of) => noise(lo, hi, ...of)
  }

  code(x: Float32Array, { words }: EdgePayload, step: number): void {
    words.fill(0)
    for (const { index, raw, length } of this.#layout.raws) {
      const noise = this.#noise(index, step, length)
      for (let i = 0; i < length; i++) {
        const at = raw + i
        const folded = modulo(x[at]!, this.modulus) / this.modulus + 0.5
        words[at >>> 4]! |= Math.floor(folded * STEPS + noise[i]!) << (2 * (at & 15))
      }
    }
  }

  refuse({ words }: EdgePayload): string | null {
    const used = this.difference.length % 16
    if (used > 0 && words.at(-1)! >>> (2 * used) !== 0)
      return 'bits after the last entry are not zero'
    return null
  }

  commit(lo: EdgePayload, hi: EdgePayload, _own: boolean, _x: Float32Array): boolean {
    const step = this.modulus / STEPS
    for (let i = 0; i < this.difference.length; i++) {
      // −3 … 3 to the one of −1, 0, 1 that is the same modulo 3
      const steps = ((levelAt(hi, i) - levelAt(lo, i) + STEPS + 1) % STEPS) - 1
      this.difference[i] = steps * step
    }
    return true
  }

  retract(): void {}

  restart(): void {}
}

/**
 * As the authors of PowerGossip have it: the noise is a node's own, and an end compares what its
 * neighbour sent with its own x as the neighbours before have left it, but with its x̂ of before them.
 * So the ends do not find the same.
 */
export class PublishedMoniquaCoding extends MoniquaCoding {
  /** x̂ − x as this end sent it */
  readonly #error: Float32Array

  constructor(layout: Layout, theta: number, { lo, hi, own, noise }: EdgeEnd) {
    const self = own ? hi : lo
    super(layout, theta, { lo: self, hi: self, noise })
    this.#error = new Float32Array(layout.rawFloats)
  }

  override code(x: Float32Array, into: EdgePayload, step: number): void {
    super.code(x, into, step)
    for (let i = 0; i < x.length; i++) {
      this.#error[i] = this.#valueAt(into, i) - modulo(x[i]!, this.modulus)
    }
  }

  override commit(lo: EdgePayload, hi: EdgePayload, own: boolean, x: Float32Array): boolean {
    const sent = own ? lo : hi
    for (let i = 0; i < x.length; i++) {
      const there = modulo(this.#valueAt(sent, i) - x[i]!, this.modulus)
      this.difference[i] = own ? this.#error[i]! - there : there - this.#error[i]!
    }
    return true
  }

  #valueAt(sent: EdgePayload, i: number): number {
    return (levelAt(sent, i) / STEPS - 0.5) * this.modulus
  }
}

/** The number in [−a/2, a/2] that differs from x by a multiple of a; at ±a/2 the other one, as published. */
function modulo(x: number, a: number): number {
  const half = x < 0 ? -a / 2 : a / 2
  return ((x + half) % a) - half
}

/** Words that the levels of so many entries take. */
export function wordsOf(entries: number): number {
  return Math.ceil(entries / 16)
}

function levelAt({ words }: EdgePayload, i: number): number {
  return (words[i >>> 4]! >>> (2 * (i & 15))) & 3
}
