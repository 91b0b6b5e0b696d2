// Choco: compressed differences to an estimate that both ends of an edge keep.
import type { Layout } from '../../backend.ts'
import { knownOptions } from '../../validate.ts'
import {
  type CompressedOptions,
  type Compression,
  compressionOf,
  type EdgePayload,
} from '../compression.ts'
import { type Coding, subtract } from '../edge-coding.ts'
import { checkGamma, codedMethod, type GossipMethod } from '../method.ts'

/**
 * Choco (Koloskova, Stich & Jaggi, "Decentralized Stochastic Optimization and Gossip Algorithms
 * with Compressed Communication", 2019). A node's neighbours keep an estimate of its parameters,
 * and the node sends the compressed difference between its parameters and that estimate.
 *
 * Keeps six copies of the model for each neighbour.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function choco(options: CompressedOptions): GossipMethod {
  const { compression, gamma } = knownOptions(options, ['compression', 'gamma'])
  const compress = compressionOf(compression)
  checkGamma(gamma)
  return codedMethod('choco', gamma, { compression }, compress, (layout, { isHi }) => {
    return new ChocoCoding(layout, compress(layout), isHi)
  })
}

/**
 * Choco at one end of an edge. Both ends keep the same estimates x̂ of both. Each end sends C(x −
 * x̂) for its own x, both add the two messages to the estimates, and the ends move along the
 * difference of the estimates.
 *
 * The paper has one estimate per node, shared by all its edges. Here each edge has its own. As long
 * as all frames arrive, the results are the same; and here frames may get lost.
 */
export class ChocoCoding implements Coding {
  readonly words: number
  readonly columns: readonly number[]
  readonly difference: Float32Array
  readonly kept: Coding['kept']
  /** the end that this node is */
  readonly #self: 'lo' | 'hi'
  readonly #compression: Compression
  /** the estimates x̂ of both ends */
  readonly #now: { readonly lo: Float32Array; readonly hi: Float32Array }
  /** the estimates before the last exchange */
  readonly #before: { readonly lo: Float32Array; readonly hi: Float32Array }
  readonly #scratch: Float32Array

  constructor(layout: Layout, compression: Compression, isHi: boolean) {
    const zeros = () => new Float32Array(layout.rawFloats)
    this.words = compression.words
    this.columns = compression.columns
    this.difference = zeros()
    this.#compression = compression
    this.#self = isHi ? 'hi' : 'lo'
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
    const estimate = this.#now[this.#self]
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
