// What a method of gossip tells the node. The methods are in methods/, one file each.
import type { Layout } from '../backend.ts'
import type { Spec } from '../options.ts'
import { show } from '../validate.ts'
import type { Coding, EdgeEnd } from './coding.ts'

/** What neighbours exchange. Made by `powerGossip()`, `plain()`, …; its fields are the library's own. */
export interface GossipMethod {
  readonly name: string
  /** written out: both ends of an edge must agree on them */
  readonly options: Readonly<Record<string, unknown>>
  readonly iterations: number
  readonly warmStart: boolean
  /** γ of what has factors, and of all else */
  readonly gamma: { readonly matrices: number; readonly raws: number }
  readonly published: boolean
  /** true: edges are applied one after another, each to what those before have left */
  readonly sequential: boolean
  /** of each parameter; 0: it has no factors */
  ranks(specs: readonly Spec[]): readonly number[]
  /** What of the values without factors an end sends: so many words, and columns of floats. */
  sends(layout: Layout): { readonly words: number; readonly columns: readonly number[] }
  /** For what has no factors, at an end of an edge. */
  coding(layout: Layout, end: EdgeEnd): Coding
}

/** A method without factors. */
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
