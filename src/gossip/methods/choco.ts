// Choco: compressed differences to an estimate that both ends keep.
import type { Layout } from '../../backend.ts'
import { type Coding, subtract } from '../coding.ts'
import {
  type CompressedOptions,
  type Compression,
  compressionOf,
  type EdgePayload,
} from '../compression.ts'
import { checkGamma, codedMethod, type GossipMethod } from '../method.ts'

/**
 * Choco (Koloskova, Stich & Jaggi, "Decentralized Stochastic Optimization and Gossip Algorithms with
 * Compressed Communication", 2019): of each node the others have an estimate, and what travels is the
 * compressed difference to that. Keeps six copies of the model for each neighbour.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function choco({ compression, gamma }: CompressedOptions): GossipMethod {
  const compress = compressionOf(compression)
  checkGamma(gamma)
  return codedMethod('choco', gamma, { compression }, compress, (layout, { own }) => {
    return new ChocoCoding(layout, compress(layout), own)
  })
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
