// `createGossip`: checks the options and creates one node.

import type { Backend } from '../backend.ts'
import { createHost } from '../backends/wasm/host.ts'
import { wasm } from '../backends/wasm/index.ts'
import { loadModule } from '../backends/wasm/load.ts'
import type { BytesLike } from '../bytes.ts'
import type { Wire } from '../codec/wire/index.ts'
import { WIRES } from '../codec/wire/index.ts'
import { xxh32 } from '../codec/xxh32.ts'
import { layoutOf } from '../layout.ts'
import type { ParameterSpec } from '../options.ts'
import {
  aFunction,
  anObject,
  bytesIn,
  integer,
  knownOptions,
  oneOf,
  wrongType,
} from '../validate.ts'
import { decodeEdges, encodeEdges } from './checkpoint.ts'
import { EdgeFrames } from './frames.ts'
import type { GossipMethod } from './method.ts'
import { powerGossip } from './methods/power-gossip.ts'
import { Mixer } from './mixer.ts'
import { checkNeighbour, createNeighbour, type Neighbour } from './neighbour.ts'
import { Gossip } from './node.ts'
import { checkNoise, NOISE, type Noise, uniform } from './noise.ts'
import { checkMethod, nodeSpecs } from './traffic.ts'

/**
 * A source of random numbers for edge lo–hi. It returns standard normals: elements 0 … length − 1
 * of one column of a factor. For `use` 64, Moniqua's noise, it returns numbers uniform in [0, 1):
 * elements of a parameter, with column 0. The same arguments must give the same bits at both ends.
 *
 * @param lo, hi  the nodes' numbers, lo < hi; lo = hi: a node's own noise (Moniqua, `published`)
 * @param use  0: Q. 1: P. 2 and 3: a replaced column of P, of Q; plus 4 for each further attempt,
 *   at most 60. 64: noise
 * @param parameter  its index
 * @param step  of normals: the half-step's number, from 1; 0: the initial factors. Of noise: the
 *   iteration's number, from 0
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
  /** This node's number: 0 … 2³² − 1, different for each node. */
  readonly self: number
  /**
   * The neighbours' numbers, with the weights wᵢⱼ of their edges: 0 < w ≤ 1.
   *
   * If the two ends of an edge ask for different weights, the smaller one is used. So W is
   * symmetric; and if each node asks for 1 / (1 + the number of its neighbours), the result is
   * Metropolis weights, though no node knows the graph. Default: the neighbours of `restore`, or
   * none. See `addNeighbour`.
   */
  readonly neighbours?: Readonly<Record<number, number>>
  /** The gossip method. Both ends of an edge must agree on it. Default `powerGossip()`. */
  readonly method?: GossipMethod
  /** Seed of the random numbers: 0 … 2³² − 1. Both ends must agree on it. Default 0. */
  readonly seed?: number
  /**
   * Wire type of the floats that this node sends. Rounding to it loses something, without error
   * feedback, but both ends compute with the rounded values, so the mean is kept. Default 'f32'.
   */
  readonly wire?: Wire
  /**
   * The backend that computes on the parameters: `wasm()`, `webgpu()`, … Default `wasm()`.
   *
   * On a GPU, parameters may be buffers or arrays, like the gradients of `createCompressor`.
   * Parameters with factors stay there: bases are uploaded, and products are read back. Parameters
   * without factors are read back whole, for the codings compute on the CPU.
   */
  readonly backend?: Backend
  /** A checkpoint that `save` returned, of the same node, shapes, method and seed. */
  readonly restore?: BytesLike
  /** Replaces the seeded random numbers. */
  readonly random?: EdgeRandom
}

/**
 * Creates one node of a gossip network. An iteration, for example between two training steps, is
 *
 *   for (const [id, frame] of await node.begin(parameters)) send(id, frame)
 *   node.receive(id, frame)          for each neighbour's frame, or node.giveUp(id)
 *   await node.apply(parameters)     // moves the parameters; returns the next half-step's frames
 *
 * **One end of an edge adds what the other subtracts**, so the sum of all nodes' parameters stays,
 * to rounding: each addition errs by at most half a unit in the last place of a float32.
 *
 * Frames need no acknowledgement and may get lost. If one frame of an edge gets lost, one end
 * applies an exchange that the other does not. No protocol can rule that out (the two generals'
 * problem), and waiting for acknowledgements would cost a round trip in each iteration. Instead,
 * the nodes detect it and take it back. A frame says with which history of exchanges it was
 * computed. So the next frame that arrives shows the end that is ahead that it must subtract its
 * last exchange again; it has kept the factors for that. Until then, the sum is off by one edge's
 * exchange, and the edge exchanges nothing in the iteration in which the loss is detected. If both
 * frames get lost, neither end applies anything.
 *
 * If the ends have no common history, because one lost its state or was restored from an old
 * checkpoint, they return to the initial factors by themselves. Their earlier exchanges stay
 * applied.
 *
 * Both ends need bases with the same bits. They orthonormalize differences of the bytes that both
 * have, always in the plain wasm module, whatever the backend and engine.
 *
 * @param shapes  one entry per parameter, the same on all nodes
 * @throws TypeError, RangeError  naming the entry or option at fault
 * @throws UnsupportedError  if this host cannot, or is not allowed to, compile WebAssembly
 */
export async function createGossip(
  shapes: readonly ParameterSpec[],
  options: GossipOptions,
): Promise<Gossip> {
  const known = ['self', 'neighbours', 'method', 'seed', 'wire', 'backend', 'restore', 'random']
  const {
    self,
    neighbours,
    method = powerGossip(),
    seed = 0,
    wire = 'f32',
    backend = wasm(),
    restore,
    random,
  } = knownOptions(options, known)
  integer('self', self, 0, 0xffffffff)
  integer('seed', seed, 0, 0xffffffff)
  checkMethod(method)
  oneOf('wire', wire, WIRES)
  if (random !== undefined) aFunction('random', random)
  if (typeof backend?.open !== 'function') {
    throw wrongType('backend', 'a backend, wasm() say', backend)
  }
  const asked = neighbours === undefined ? undefined : weightsOf(self, neighbours)
  if (restore !== undefined) bytesIn('restore', restore)
  const specs = nodeSpecs(shapes, method)
  const layout = layoutOf(specs, method.ranks(specs))
  const module = await loadModule()
  // First of all that takes memory, for a backend refuses a model that is too large by arithmetic.
  const mixer = await Mixer.open(backend, specs, layout)
  try {
    const frames = new EdgeFrames(specs, layout, method, seed, self, wire)
    const seedOf = (lo: number, hi: number) =>
      xxh32(new Uint8Array(Uint32Array.of(seed, lo, hi).buffer))
    const host = (lo: number, hi: number) =>
      createHost(module, seedOf(lo, hi), random && ((...args) => random(lo, hi, ...args)))
    const noise: Noise = (lo, hi, parameter, step, length) =>
      random
        ? checkNoise(random(lo, hi, NOISE, parameter, 0, step, length), length)
        : uniform(seedOf(lo, hi), parameter, step, length)
    const common = { self, specs, layout, method, frames, host, noise, mixer }
    const newEdge = (neighbour: number) => createNeighbour(common, neighbour, 1).edge
    const saved = restore && decodeEdges(restore, layout, frames.configHash, self, newEdge)
    const parts = {
      ...common,
      step: saved?.step ?? 0,
      save: (step: number, current: ReadonlyMap<number, Neighbour>) =>
        encodeEdges(layout, frames.configHash, self, step, current),
    }
    const initial = new Map<number, Neighbour>()
    for (const [id, weight] of asked ?? saved?.neighbours ?? []) {
      const neighbour = createNeighbour(parts, id, weight)
      saved?.fill(id, neighbour.edge)
      initial.set(id, neighbour)
    }
    return new Gossip(parts, initial)
  } catch (error) {
    mixer.dispose()
    throw error
  }
}

/** The option `neighbours` as a map. @throws TypeError, RangeError  naming what is wrong in it */
function weightsOf(self: number, neighbours: unknown): Map<number, number> {
  anObject('neighbours', neighbours, 'weights by number, { 1: 1 / 3 } say')
  const all = Object.entries(neighbours as object).map(([id, weight]): [number, number] => {
    checkNeighbour(self, Number(id), weight, 'neighbours')
    return [Number(id), weight]
  })
  return new Map(all)
}
