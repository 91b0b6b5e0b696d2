// An iteration of three nodes in a ring, each with two neighbours, on one core: the time that
// gossip costs, against full steps of as many workers.
//
// Parameters lie in the callers' arrays. They do not change, for all nodes start with the same; the
// amount of work does not depend on their values.
import { aggregate, createCompressor } from 'lowrank'
import {
  choco,
  createGossip,
  deepSqueeze,
  type Gossip,
  type GossipMethod,
  plain,
  powerGossip,
} from 'lowrank/gossip'
import { createWasmKernels } from 'lowrank/kernels'
import { ring } from 'lowrank/topology'
import { type Case, measure, withRatios } from './measure.ts'
import { lengthsOf, type Model } from './models.ts'
import type { Section } from './section.ts'
import { modelsOf } from './step.ts'

const NODES = 3

const STEPS = 'full steps of three workers, rank 2'

const METHODS: Readonly<Record<string, GossipMethod>> = {
  'PowerGossip, rank 1': powerGossip(),
  'PowerGossip, rank 1, two half-steps': powerGossip({ iterations: 2 }),
  'PowerGossip, rank 2': powerGossip({ rank: 2 }),
  plain: plain(),
  'Choco, sign': choco({ compression: 'sign', gamma: 0.45 }),
  'Choco, 1 %': choco({ compression: { keep: 0.01 }, gamma: 0.0375 }),
  'DeepSqueeze, 1 %': deepSqueeze({ compression: { keep: 0.01 }, gamma: 0.01 }),
}

export const gossip: Section = async (settings, { progress, table }) => {
  const [model] = modelsOf(settings)
  const parameters = await normals(model!)
  const cases = [await steps(model!, parameters)]
  for (const [name, method] of Object.entries(METHODS)) {
    cases.push(await iterations(name, model!, method, parameters))
  }
  const rows = await measure(cases, settings, (name) => progress(name))
  table({
    title: `gossip, ${model!.name}: an iteration of three nodes`,
    ratios: 'times',
    against: '× full steps',
    rows: withRatios(rows),
  })
}

async function steps({ shapes }: Model, gradients: readonly Float32Array[]): Promise<Case> {
  const compressor = await createCompressor(shapes, { rank: 2 })
  const updates = gradients.map(({ length }) => new Float32Array(length))
  const run = () => {
    for (let worker = 0; worker < NODES; worker++) {
      let frame: Uint8Array | null = compressor.compressSync(gradients)
      while (frame) frame = compressor.receiveSync(aggregate([frame]))
      compressor.decompressSync(updates)
    }
  }
  return { name: STEPS, run }
}

async function iterations(
  name: string,
  { shapes }: Model,
  method: GossipMethod,
  parameters: Float32Array[],
): Promise<Case> {
  const nodes = await Promise.all(
    ring(NODES).map(({ neighbours }, self) => createGossip(shapes, { self, neighbours, method })),
  )
  return { name, run: () => iterate(nodes, parameters), yardstick: STEPS }
}

function iterate(nodes: readonly Gossip[], parameters: Float32Array[]): void {
  let all: readonly ReadonlyMap<number, Uint8Array>[] | null = nodes.map((node) =>
    node.beginSync(parameters),
  )
  while (all) {
    for (const [from, frames] of all.entries()) {
      for (const [to, frame] of frames) nodes[to]!.receive(from, frame)
    }
    const next = nodes.map((node) => node.applySync(parameters).frames)
    all = next.every((frames) => frames !== null) ? next : null
  }
}

async function normals({ shapes }: Model): Promise<Float32Array[]> {
  const kernels = await createWasmKernels()
  return lengthsOf(shapes).map((length, i) => {
    const parameter = new Float32Array(length)
    kernels.normal(parameter, 1, 0, i, 0, 0)
    return parameter
  })
}
