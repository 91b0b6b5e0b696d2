// DeepSqueeze: compressed parameters, with error feedback.
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
 * DeepSqueeze (Tang et al., "DeepSqueeze: Decentralization Meets Error-Compensated Compression",
 * 2019). A node compresses its parameters plus the error of its last compression, and sends the
 * result.
 *
 * Keeps six copies of the model for each neighbour.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function deepSqueeze(options: CompressedOptions): GossipMethod {
  const { compression, gamma } = knownOptions(options, ['compression', 'gamma'])
  const compress = compressionOf(compression)
  checkGamma(gamma)
  return codedMethod('deepSqueeze', gamma, { compression }, compress, (layout) => {
    return new DeepSqueezeCoding(layout, compress(layout))
  })
}

/**
 * DeepSqueeze at one end of an edge. Each end sends C(x + δ) and keeps the error
 * δ ← x + δ − C(x + δ). The ends move along the difference of the two compressed values.
 *
 * The paper has one δ per node, shared by all its edges. Here each edge has its own, for the reason
 * given at ChocoCoding.
 */
export class DeepSqueezeCoding implements Coding {
  readonly words: number
  readonly columns: readonly number[]
  readonly difference: Float32Array
  readonly kept: Coding['kept']
  readonly #compression: Compression
  /** x + δ, as last compressed */
  readonly #value: Float32Array
  /** this end's error δ */
  readonly #delta: Float32Array
  /** δ before the last exchange */
  readonly #before: Float32Array
  /** scratch: the decompressed messages of both ends */
  readonly #lo: Float32Array
  readonly #hi: Float32Array

  constructor(layout: Layout, compression: Compression) {
    const zeros = () => new Float32Array(layout.rawFloats)
    this.words = compression.words
    this.columns = compression.columns
    this.difference = zeros()
    this.#compression = compression
    this.#value = zeros()
    this.#delta = zeros()
    this.#before = zeros()
    this.#lo = zeros()
    this.#hi = zeros()
    const [delta, before] = [this.#delta, this.#before]
    this.kept = { difference: this.difference, delta, 'delta-before': before }
  }

  code(x: Float32Array, into: EdgePayload): void {
    for (let i = 0; i < x.length; i++) this.#value[i] = x[i]! + this.#delta[i]!
    this.#compression.compress(this.#value, into)
  }

  refuse(sent: EdgePayload): string | null {
    return this.#compression.refuse(sent)
  }

  commit(lo: EdgePayload, hi: EdgePayload, isHi: boolean): boolean {
    this.#compression.add(lo, this.#lo.fill(0))
    this.#compression.add(hi, this.#hi.fill(0))
    if (!subtract(this.difference, this.#hi, this.#lo)) return false
    const [delta, sent] = [this.#delta, isHi ? this.#hi : this.#lo]
    this.#before.set(delta)
    for (let i = 0; i < delta.length; i++) delta[i] = this.#value[i]! - sent[i]!
    return true
  }

  retract(): void {
    this.#delta.set(this.#before)
  }

  restart(): void {
    this.#delta.fill(0)
  }
}
