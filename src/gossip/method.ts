// The interface between a gossip method and the node. The methods are in methods/, one file each.
import type { Layout } from '../backend.ts'
import type { Spec } from '../options.ts'
import { show } from '../validate.ts'
import type { Coding, EdgeEnd } from './edge-coding.ts'

/**
 * A gossip method: what neighbours exchange. Created by `powerGossip()`, `choco()`,
 * `deepSqueeze()`, `moniqua()` or `plain()`. Programs pass it on; its fields are for the library's
 * own use.
 */
export interface GossipMethod {
  readonly name: string
  /** all options, written out and JSON-serializable: both ends of an edge must agree on them */
  readonly options: Readonly<Record<string, unknown>>
  /** half-steps in an iteration */
  readonly iterations: number
  /** false: each half-step begins with a new random factor */
  readonly warmStart: boolean
  /**
   * consensus step size γ of the parameters with factors (`matrices`) and of those without (`raws`)
   */
  readonly gamma: { readonly matrices: number; readonly raws: number }
  /**
   * true: as PowerGossip's program. Iteration 0 exchanges only parameters without factors, and the
   * matrix view is the first axis against the rest, whatever the shape
   */
  readonly published: boolean
  /**
   * true: edges are applied one after another, each to the values that those before it have moved
   */
  readonly sequential: boolean
  /** The rank of each parameter's factors; 0: it has none. */
  ranks(specs: readonly Spec[]): readonly number[]
  /**
   * A message's content for the parameters without factors: words, and lengths of columns of
   * floats.
   */
  sends(layout: Layout): { readonly words: number; readonly columns: readonly number[] }
  /** Creates the coding of the parameters without factors, for one end of an edge. */
  coding(layout: Layout, end: EdgeEnd): Coding
}

/** A method that gives no parameter factors: its coding handles all of them. */
export function codedMethod(
  name: string,
  gamma: number,
  options: Readonly<Record<string, unknown>>,
  sends: GossipMethod['sends'],
  coding: GossipMethod['coding'],
): GossipMethod {
  return {
    name,
    options: { ...options, gamma },
    iterations: 1,
    warmStart: true,
    gamma: { matrices: gamma, raws: gamma },
    published: false,
    sequential: false,
    ranks: (specs) => specs.map(() => 0),
    sends,
    coding,
  }
}

/** @throws RangeError  unless it is more than 0, and at most 2 */
export function checkGamma(value: unknown): void {
  if (typeof value === 'number' && value > 0 && value <= 2) return
  throw new RangeError(`"gamma": expected more than 0, and at most 2, got ${show(value)}`)
}
