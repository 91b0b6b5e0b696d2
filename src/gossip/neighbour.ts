// A neighbour, as a node knows it.

import type { Host, Layout } from '../backend.ts'
import { integer, show } from '../validate.ts'
import { Edge } from './edge.ts'
import type { GossipMethod } from './method.ts'
import type { Noise } from './noise.ts'

/** A neighbour: the weight that this node asks for, and what both ends keep. */
export interface Neighbour {
  weight: number
  readonly edge: Edge
}

/** What all edges of a node are made of. */
export interface NeighbourParts {
  readonly self: number
  readonly layout: Layout
  readonly method: GossipMethod
  /** of an edge: the same random numbers on both ends */
  readonly host: (lo: number, hi: number) => Host
  readonly noise: Noise
}

/** An edge at its beginning. */
export function createNeighbour(
  { self, layout, host, noise, method }: NeighbourParts,
  neighbour: number,
  weight: number,
): Neighbour {
  const [lo, hi] = [Math.min(self, neighbour), Math.max(self, neighbour)]
  const edge = new Edge({ lo, hi, own: self === hi, noise }, layout, host(lo, hi), method)
  return { weight: Math.fround(weight), edge }
}

/** @throws TypeError, RangeError  unless it is the number of another node, and a weight */
export function checkNeighbour(self: number, neighbour: unknown, weight: unknown): void {
  integer('neighbour', neighbour, 0, 0xffffffff)
  if (neighbour === self) throw new RangeError(`"neighbour": expected another than self, ${self}`)
  if (typeof weight === 'number' && Math.fround(weight) > 0 && weight <= 1) return
  throw new RangeError(
    `"neighbours[${neighbour}]": expected a weight more than 0, and at most 1, got ${show(weight)}`,
  )
}
