// `createGossip`: puts together what one node is made of.

import type { Backend } from '../backend.ts'
import { createHost } from '../backends/wasm/host.ts'
import { wasm } from '../backends/wasm/index.ts'
import { loadModule } from '../backends/wasm/load.ts'
import type { Wire } from '../codec/wire/index.ts'
import { WIRES } from '../codec/wire/index.ts'
import { xxh32 } from '../codec/xxh32.ts'
import { layoutOf, specsOf } from '../layout.ts'
import type { ParameterSpec } from '../options.ts'
import { anObject, integer, noOthers, oneOf, show } from '../validate.ts'
import { decodeEdges, encodeEdges } from './checkpoint.ts'
import { EdgeFrames } from './frames.ts'
import type { GossipMethod } from './method.ts'
import { powerGossip } from './methods/power-gossip.ts'
import { Mixer } from './mixer.ts'
import { checkNeighbour, createNeighbour, type Neighbour } from './neighbour.ts'
import { Gossip } from './node.ts'
import { checkNoise, NOISE, type Noise, uniform } from './noise.ts'
import { checkMethod } from './traffic.ts'

/**
 * Where random numbers come from: standard normals, elements 0 … length − 1 of one column of a factor of
 * the edge lo–hi. The same arguments must give the same bits on both ends. Also Moniqua's noise, uniform
 * in [0, 1): elements of a parameter, column 0.
 *
 * @param lo, hi  lo = hi: of that node alone, in Moniqua as published
 * @param use  0: Q; 1: P; 2, 3: a replaced column of P, of Q; + 4 per further attempt, 60 at most; 64: noise
 * @param step  number of the half-step, from 1; 0: the first factors. Of noise: the iteration's, from 0
 */
export type EdgeRandom = (
  lo: number,
  hi: number,
  use: number,
  parameter: number,
  column: number,
  step: number,
  length: number,
) => Float32Array

export interface GossipOptions {
  /** This node's number, another for each: 0 … 2³² − 1. */
  readonly self: number
  /**
   * The weights wᵢⱼ of neighbours by their numbers, 0 < w ≤ 1. If both ends of an edge ask for different
   * ones, the smaller is used: so W is symmetric, and 1 / (1 + number of neighbours) gives Metropolis
   * weights without anyone's knowing the graph. Default: those of `restore`, or none; see `join`.
   */
  readonly neighbours?: Readonly<Record<number, number>>
  /** What is exchanged. Default `powerGossip()`. Both ends must agree on it. */
  readonly method?: GossipMethod
  /** Of the first factors. Default 0. Both ends must agree on it. */
  readonly seed?: number
  /** How this node's numbers travel. There is no error feedback; the mean is kept all the same. Default 'f32'. */
  readonly wire?: Wire
  /**
   * What the node computes on: `wasm()`, `webgpu()`, … On a GPU, parameters are buffers or arrays, as gradients are for
   * `createCompressor`, and what has factors stays there: bases go in, products come out. What travels whole
   * has to come out, and codings compute on the CPU. Default `wasm()`.
   */
  readonly backend?: Backend
  /** What `save` gave. */
  readonly restore?: Uint8Array
  /** In place of the seeded numbers. */
  readonly random?: EdgeRandom
}

/**
 * Creates one node. An iteration, between two steps of training say, is
 *
 *   for (const [id, frame] of await node.begin(parameters)) send(id, frame)
 *   node.receive(id, frame)          for each neighbour's frame, or node.giveUp(id)
 *   await node.apply(parameters)     // the parameters have moved; frames of the next half-step, if any
 *
 * Frames need not be acknowledged, and may be lost. **What one end adds, the other subtracts**, so the sum
 * of all parameters stays, to rounding: each addition errs by half a unit in the last place of a
 * float32. If a frame gets lost, one end applies what the other does not. No protocol can rule
 * that out (it is the problem of the two generals), and waiting for acknowledgements would cost a way
 * and back in each iteration; so it is found and taken back instead: a frame says what history of
 * exchanges it was computed with, and the next that arrives shows the end that is ahead that it must
 * subtract again what it has added, which it has kept: the factors of one exchange. The price of a
 * frame lost one way is that the sum is off by one edge's exchange until then, and that this edge
 * exchanges nothing in the iteration in which it is found. If both are lost, nothing has happened.
 *
 * Ends that have nothing in common, because one lost its state or came back from an old one, begin anew
 * by themselves; what they had exchanged before stays.
 *
 * The bases that both ends must have with the same bits are made by the plain wasm module on all engines and
 * backends, from factors that are differences of the bytes that both have.
 *
 * @param shapes  one entry per parameter, the same on all nodes
 * @throws TypeError, RangeError  naming the entry or option at fault
 * @throws UnsupportedError  if this host does not let WebAssembly be compiled
 */
export async function createGossip(
  shapes: readonly ParameterSpec[],
  options: GossipOptions,
): Promise<Gossip> {
  anObject(options, '{ self, … }')
  const {
    self,
    neighbours,
    method = powerGossip(),
    seed = 0,
    wire = 'f32',
    backend = wasm(),
    restore,
    random,
    ...others
  } = options
  noOthers(others)
  integer('self', self, 0, 0xffffffff)
  integer('seed', seed, 0, 0xffffffff)
  checkMethod(method)
  oneOf('wire', wire, WIRES)
  if (random !== undefined && typeof random !== 'function') {
    throw new TypeError(`"random": expected a function, got ${show(random)}`)
  }
  if (typeof backend?.open !== 'function') {
    throw new TypeError(`"backend": expected a backend, wasm() say, got ${show(backend)}`)
  }
  const specs = specsOf(shapes)
  const layout = layoutOf(specs, method.ranks(specs))
  const frames = new EdgeFrames(specs, layout, method, seed, self, wire)
  const module = await loadModule()
  const seedOf = (lo: number, hi: number) =>
    xxh32(new Uint8Array(Uint32Array.of(seed, lo, hi).buffer))
  const host = (lo: number, hi: number) =>
    createHost(module, seedOf(lo, hi), random && ((...of) => random(lo, hi, ...of)))
  const noise: Noise = (lo, hi, parameter, step, length) =>
    random
      ? checkNoise(random(lo, hi, NOISE, parameter, 0, step, length), length)
      : uniform(seedOf(lo, hi), parameter, step, length)
  const common = { self, specs, layout, method, frames, host, noise }
  const like = (neighbour: number) => createNeighbour(common, neighbour, 1).edge
  const saved = restore && decodeEdges(restore, layout, frames.configHash, self, like)
  const weights = neighbours === undefined ? saved?.neighbours : weightsOf(self, neighbours)
  const parts = {
    ...common,
    step: saved?.step ?? 0,
    save: (step: number, links: ReadonlyMap<number, Neighbour>) =>
      encodeEdges(layout, frames.configHash, self, step, links),
  }
  const links = new Map<number, Neighbour>()
  for (const [neighbour, weight] of weights ?? []) {
    const link = createNeighbour(parts, neighbour, weight)
    saved?.fill(neighbour, link.edge)
    links.set(neighbour, link)
  }
  return new Gossip({ ...parts, mixer: await Mixer.open(backend, specs, layout) }, links)
}

function weightsOf(self: number, neighbours: unknown): Map<number, number> {
  if (typeof neighbours !== 'object' || neighbours === null) {
    throw new TypeError(`"neighbours": expected weights by number, got ${show(neighbours)}`)
  }
  const all = Object.entries(neighbours).map(([id, weight]): [number, number] => {
    checkNeighbour(self, Number(id), weight)
    return [Number(id), weight]
  })
  return new Map(all)
}
