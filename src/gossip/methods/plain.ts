// Plain gossip: values as they are.
import type { Layout } from '../../backend.ts'
import { rawLengths } from '../../layout.ts'
import { type Coding, subtract } from '../coding.ts'
import type { EdgePayload } from '../compression.ts'
import { checkGamma, codedMethod, type GossipMethod } from '../method.ts'

/**
 * Plain gossip: x ← x + γ·Σⱼ wⱼ·(xⱼ − x), everything sent whole to each neighbour. Keeps two more
 * copies of the model for each.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function plain({ gamma = 1 }: { readonly gamma?: number } = {}): GossipMethod {
  checkGamma(gamma)
  return codedMethod('plain', gamma, {}, wholeValues, (layout) => new WholeCoding(layout))
}

/** All values without factors, as floats. */
export function wholeValues(layout: Layout) {
  return { words: 0, columns: rawLengths(layout) }
}

/** Values as they are. */
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
