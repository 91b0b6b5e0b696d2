// Moniqua: values modulo B, quantized to two bits. B is a multiple of the largest difference
// between neighbours.
import type { Layout } from '../../backend.ts'
import { flag, knownOptions, show } from '../../validate.ts'
import type { EdgePayload } from '../compression.ts'
import type { Coding, EdgeEnd } from '../edge-coding.ts'
import { checkGamma, codedMethod, type GossipMethod } from '../method.ts'

export interface MoniquaOptions {
  /**
   * θ, a bound on the difference between two neighbours in any entry: 2⁻¹⁰⁰ … 2⁹⁶. A rounding error
   * is at most 2θ.
   */
  readonly theta: number
  /** Consensus step size γ, 0 < γ ≤ 2. Default 1. */
  readonly gamma?: number
  /**
   * true: as the program of PowerGossip's authors. Each node has noise of its own. It applies its
   * edges one after another, each to the values that those before it have moved. So the mean is not
   * kept. Default false.
   */
  readonly published?: boolean
}

/**
 * Moniqua (Lu & De Sa, "Moniqua: Modulo Quantized Communication in Decentralized SGD", 2020) with
 * two bits per entry. A node sends x modulo 6θ, rounded at random to a multiple of 2θ.
 *
 * Both ends of an edge round with the same noise and find the same difference, so the mean is kept.
 * Its expectation is the true difference if that is at most 2θ; beyond that, the ends may move the
 * wrong way. Nodes agree up to about 2γwθ, the distance by which one exchange over an edge of
 * weight w moves them.
 *
 * Keeps one copy of the model for each neighbour.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function moniqua(options: MoniquaOptions): GossipMethod {
  const known = ['theta', 'gamma', 'published']
  const { theta, gamma = 1, published = false } = knownOptions(options, known)
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

/** A message: two bits per entry, and no floats. */
function moduli({ rawFloats }: Layout) {
  return { words: wordsOf(rawFloats), columns: [] }
}

/**
 * Quantization steps in a modulus B. Two bits hold 0 … 3, of which 0 and 3 are the same modulo 3.
 */
const STEPS = 3

/** B ÷ θ. The paper has B = 2θ / (1 − 2δ), with a quantization step of δ·B; here δ = 1/3. */
const MODULUS = 6

/**
 * Moniqua at one end of an edge, with noise u that both ends share.
 *
 * With x taken modulo B into [−B/2, B/2], an end sends the level ℓ = ⌊(x/B + ½)/δ + u⌋ ∈ {0, …, 3},
 * which stands for x̂ = B·(ℓ·δ − ½). If the two x differ by at most δ·B = 2θ, their levels differ
 * by at most one step, up to a multiple of 3; so the difference of the levels modulo 3 tells its
 * sign. Both ends compute that difference from the two messages. Its expectation is the difference
 * of the x.
 *
 * A message holds the levels in order, 16 to a word, from the lowest bits up.
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

  commit(lo: EdgePayload, hi: EdgePayload, _isHi: boolean, _x: Float32Array): boolean {
    const step = this.modulus / STEPS
    for (let i = 0; i < this.difference.length; i++) {
      // maps −3 … 3 to the equal of it modulo 3 among −1, 0, 1
      const steps = ((levelAt(hi, i) - levelAt(lo, i) + STEPS + 1) % STEPS) - 1
      this.difference[i] = steps * step
    }
    return true
  }

  retract(): void {}

  restart(): void {}
}

/**
 * Moniqua as in the program of PowerGossip's authors. Each node has noise of its own. An end
 * compares its neighbour's message with its own x, which the edges applied before have already
 * moved, but uses the rounding error x̂ − x of the x before those edges. So the two ends find
 * different differences.
 */
export class PublishedMoniquaCoding extends MoniquaCoding {
  /** this end's rounding error x̂ − x modulo B, of the values as sent */
  readonly #error: Float32Array

  constructor(layout: Layout, theta: number, { lo, hi, isHi, noise }: EdgeEnd) {
    const self = isHi ? hi : lo
    super(layout, theta, { lo: self, hi: self, noise })
    this.#error = new Float32Array(layout.rawFloats)
  }

  override code(x: Float32Array, into: EdgePayload, step: number): void {
    super.code(x, into, step)
    for (let i = 0; i < x.length; i++) {
      this.#error[i] = this.#valueAt(into, i) - modulo(x[i]!, this.modulus)
    }
  }

  override commit(lo: EdgePayload, hi: EdgePayload, isHi: boolean, x: Float32Array): boolean {
    const sent = isHi ? lo : hi
    for (let i = 0; i < x.length; i++) {
      const received = modulo(this.#valueAt(sent, i) - x[i]!, this.modulus)
      this.difference[i] = isHi ? this.#error[i]! - received : received - this.#error[i]!
    }
    return true
  }

  /** x̂ of entry i: B·(ℓ·δ − ½) */
  #valueAt(sent: EdgePayload, i: number): number {
    return (levelAt(sent, i) / STEPS - 0.5) * this.modulus
  }
}

/**
 * The number in [−a/2, a/2] that differs from x by a multiple of a. Maps a/2 to −a/2 and −a/2 to
 * a/2, as the published program does.
 */
function modulo(x: number, a: number): number {
  const half = x < 0 ? -a / 2 : a / 2
  return ((x + half) % a) - half
}

/** Words for the levels of so many entries, 16 to a word. */
export function wordsOf(entries: number): number {
  return Math.ceil(entries / 16)
}

/** The level of entry i. */
function levelAt({ words }: EdgePayload, i: number): number {
  return (words[i >>> 4]! >>> (2 * (i & 15))) & 3
}
