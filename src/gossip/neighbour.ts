// A neighbour of a node: the edge to it, and the weight that the node asks for.

import type { Host, Layout } from '../backend.ts'
import { integer, wrongValue } from '../validate.ts'
import { Edge } from './edge.ts'
import type { GossipMethod } from './method.ts'
import type { Noise } from './noise.ts'

/** A neighbour, as this node knows it. */
export interface Neighbour {
  /** the weight that this node asks for, rounded to float32; the neighbour may ask for another */
  weight: number
  readonly edge: Edge
}

/** The parts that all edges of a node share. */
export interface NeighbourParts {
  /** this node's number */
  readonly self: number
  readonly layout: Layout
  readonly method: GossipMethod
  /** creates the host of edge lo–hi, which draws the same random numbers on both ends */
  readonly host: (lo: number, hi: number) => Host
  readonly noise: Noise
}

/** Creates a neighbour, with its edge in the initial state. */
export function createNeighbour(
  { self, layout, host, noise, method }: NeighbourParts,
  neighbour: number,
  weight: number,
): Neighbour {
  const [lo, hi] = [Math.min(self, neighbour), Math.max(self, neighbour)]
  const edge = new Edge({ lo, hi, isHi: self === hi, noise }, layout, host(lo, hi), method)
  return { weight: Math.fround(weight), edge }
}

/**
 * Checks a neighbour's number and the weight to be asked for.
 *
 * @param name  how errors call the number
 * @throws TypeError, RangeError  unless 0 ≤ neighbour < 2³², neighbour ≠ self and 0 < weight ≤ 1
 */
export function checkNeighbour(
  self: number,
  neighbour: unknown,
  weight: unknown,
  name = 'neighbour',
): void {
  integer(name, neighbour, 0, 0xffffffff)
  if (neighbour === self) throw wrongValue(name, 'another than self', neighbour)
  if (typeof weight === 'number' && Math.fround(weight) > 0 && weight <= 1) return
  throw wrongValue(`neighbours[${neighbour}]`, 'a weight more than 0, and at most 1', weight)
}
