// Plain gossip: parameters travel without compression.
import type { Layout } from '../../backend.ts'
import { rawLengths } from '../../layout.ts'
import { knownOptions } from '../../validate.ts'
import type { EdgePayload } from '../compression.ts'
import { type Coding, subtract } from '../edge-coding.ts'
import { checkGamma, codedMethod, type GossipMethod } from '../method.ts'

/**
 * Plain gossip: x ← x + γ·Σⱼ wⱼ·(xⱼ − x). Each node sends all its parameters to each neighbour.
 *
 * Keeps two copies of the model for each neighbour.
 *
 * @param options.gamma  consensus step size γ, 0 < γ ≤ 2. Default 1; see `optimalGamma` of
 *   lowrank/topology.
 * @throws RangeError  if γ is out of range
 */
export function plain(options: { readonly gamma?: number } = {}): GossipMethod {
  const { gamma = 1 } = knownOptions(options, ['gamma'])
  checkGamma(gamma)
  return codedMethod('plain', gamma, {}, wholeValues, (layout) => new WholeCoding(layout))
}

/** A message of all parameters without factors: their floats, one column per parameter. */
export function wholeValues(layout: Layout) {
  return { words: 0, columns: rawLengths(layout) }
}

/**
 * The coding of `plain`, and of PowerGossip's parameters without factors: the values themselves.
 */
export class WholeCoding implements Coding {
  readonly words = 0
  readonly columns: readonly number[]
  readonly difference: Float32Array
  readonly kept: Coding['kept']

  constructor(layout: Layout) {
    this.columns = rawLengths(layout)
    this.difference = new Float32Array(layout.rawFloats)
    this.kept = { difference: this.difference }
  }

  code(x: Float32Array, { floats }: EdgePayload): void {
    floats.set(x)
  }

  refuse(): null {
    return null
  }

  commit(lo: EdgePayload, hi: EdgePayload): boolean {
    return subtract(this.difference, hi.floats, lo.floats)
  }

  retract(): void {}

  restart(): void {}
}
