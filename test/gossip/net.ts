// Nodes that gossip, with links that may lose frames.

import type { Topology } from '../../src/gossip/topology.ts'
import {
  createGossip,
  type EdgeOutcome,
  type Gossip,
  type GossipOptions,
} from '../../src/gossip.ts'
import type { ParameterSpec } from '../../src/options.ts'

export interface Net {
  readonly nodes: Gossip[]
  /** of each node, one array per parameter */
  readonly models: Float32Array[][]
}

/** Whether a frame gets lost on its way. */
export type Lost = (from: number, to: number, frame: Uint8Array, round: number) => boolean

export async function createNet(
  topology: Topology,
  shapes: readonly ParameterSpec[],
  options: Omit<GossipOptions, 'self' | 'neighbours'>,
  models: Float32Array[][],
): Promise<Net> {
  const nodes = await Promise.all(
    topology.map(({ neighbours }, self) => createGossip(shapes, { ...options, self, neighbours })),
  )
  return { nodes, models }
}

/**
 * One iteration of all nodes, with all its half-steps.
 *
 * @returns the outcome of each node's edges in the last half-step
 */
export function iterate(
  { nodes, models }: Net,
  lost: Lost = () => false,
): ReadonlyMap<number, EdgeOutcome>[] {
  let frames = nodes.map((node, i) => node.beginSync(models[i]!))
  for (let round = 0; ; round++) {
    for (const [from, all] of frames.entries()) {
      for (const [to, frame] of all) {
        if (lost(from, to, frame, round)) nodes[to]!.giveUp(from)
        else if (nodes[to]!.receive(from, frame) !== 'taken') throw new Error('not of this step')
      }
    }
    const applied = nodes.map((node, i) => node.applySync(models[i]!))
    if (applied[0]!.frames === null) return applied.map(({ outcomes }) => outcomes)
    frames = applied.map((one) => new Map(one.frames))
  }
}

/** Sums over all nodes in float64, one after another. */
export function sums(models: readonly Float32Array[][]): Float64Array {
  const all = models.map((model) => Float64Array.from(model.flatMap((x) => [...x])))
  return all[0]!.map((_, j) => all.reduce((sum, x) => sum + x[j]!, 0))
}

/** Σᵢ ‖xᵢ − x̄‖², over all parameters. */
export function disagreement(models: readonly Float32Array[][]): number {
  const total = sums(models)
  let error = 0
  for (const model of models) {
    let j = 0
    for (const x of model)
      for (const value of x) error += (value - total[j++]! / models.length) ** 2
  }
  return error
}
