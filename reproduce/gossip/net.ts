// Nodes that gossip within this process, and the count of the bytes they send.
import { createGossip, type Gossip, type GossipMethod } from 'lowrank/gossip'
import { ring } from 'lowrank/topology'

/** The parameters of one node, one array each. */
export type Parameters = readonly Float32Array[]

export interface Net {
  /** Runs one iteration on all nodes and changes their parameters in place. */
  iterate(): void
  /** of all frames sent so far, per node */
  readonly bytes: number
}

/** Creates a ring of nodes. Each has its parameters, which may be trained between iterations. */
export async function createRing(
  method: GossipMethod,
  shapes: readonly (readonly number[])[],
  models: readonly Parameters[],
): Promise<Net> {
  const nodes = await Promise.all(
    ring(models.length).map(({ neighbours }, self) =>
      createGossip(shapes, { self, neighbours, method }),
    ),
  )
  let sent = 0
  return {
    iterate() {
      let frames = nodes.map((node, i) => node.beginSync(models[i]!))
      for (let left = method.iterations; left > 0; left--) {
        sent += deliver(nodes, frames)
        frames = nodes.map((node, i) => new Map(node.applySync(models[i]!).frames ?? []))
      }
    },
    get bytes() {
      return sent / nodes.length
    },
  }
}

/** @returns the bytes of all frames */
function deliver(
  nodes: readonly Gossip[],
  frames: readonly ReadonlyMap<number, Uint8Array>[],
): number {
  let sent = 0
  for (const [from, all] of frames.entries()) {
    for (const [to, frame] of all) {
      const answer = nodes[to]!.receive(from, frame)
      if (answer !== 'taken') throw new Error(`node ${to}: node ${from}'s frame is ${answer}`)
      sent += frame.length
    }
  }
  return sent
}

/** The mean of all nodes' parameters. */
export function meanOf(models: readonly Parameters[]): Float64Array[] {
  return models[0]!.map((first, k) => {
    const mean = new Float64Array(first.length)
    for (const model of models) {
      const x = model[k]!
      for (let j = 0; j < mean.length; j++) mean[j] = mean[j]! + x[j]!
    }
    return mean.map((sum) => sum / models.length)
  })
}

/** The mean over nodes of ‖xᵢ − x̄‖²: the error of consensus. */
export function disagreement(models: readonly Parameters[], mean: readonly Float64Array[]): number {
  let sum = 0
  for (const model of models) {
    for (const [k, x] of model.entries()) {
      const centre = mean[k]!
      for (let j = 0; j < x.length; j++) sum += (x[j]! - centre[j]!) ** 2
    }
  }
  return sum / models.length
}
