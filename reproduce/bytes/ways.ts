// What a worker sends in a step, for each of the methods in the papers' tables: told by `plan`, or counted
// from frames where there is no coordinator.
import { type ParameterSpec, plan } from 'lowrank'
import { bestRank, randomBlock, randomK, signNorm, topK, uncompressed } from 'lowrank/baselines'
import { choco, createGossip, type GossipMethod, plain, powerGossip } from 'lowrank/gossip'
import { halfSteps } from 'lowrank/methods'

type Shapes = readonly (readonly number[])[]

/** A method, as papers name it. Ranks are r of r · (n + m) floats, whatever sends them. */
export type Way =
  | { readonly name: 'whole' | 'sign + norm' | 'gossip' | 'gossip, signs' }
  | {
      readonly name: 'rank' | 'half-steps' | 'random block' | 'random k' | 'atomo'
      readonly rank: number
    }
  /** one of so many floats, its indices included */
  | { readonly name: 'top k'; readonly part: number }
  /** of each entry, to all receivers */
  | { readonly name: 'bits'; readonly bits: number }
  | { readonly name: 'PowerGossip'; readonly iterations: number }

/** By one worker in one step, to all its neighbours. */
export interface Sent {
  /** words of 32 bits: what papers count */
  readonly floats: number
  /** of the frames, headers and all; null: the library has no such method */
  readonly bytes: number | null
}

/** Each matrix is compressed, as the papers do, whether or not that pays. */
const ALWAYS = { minCompressionRate: 0 }

export async function sent(shapes: Shapes, way: Way): Promise<Sent> {
  switch (way.name) {
    case 'whole':
      return plan(shapes, { method: uncompressed() })
    case 'rank':
      return plan(shapes, { ...ALWAYS, rank: way.rank })
    case 'half-steps':
      return plan(shapes, { ...ALWAYS, rank: way.rank, method: halfSteps() })
    case 'random block':
      return plan(shapes, { method: randomBlock({ rank: way.rank }) })
    case 'random k':
      return plan(shapes, { method: randomK({ rank: way.rank }) })
    case 'sign + norm':
      return plan(shapes, { method: signNorm() })
    case 'top k':
      return plan(shapes, { method: topK({ ratio: 1 / way.part }) })
    case 'atomo':
      return { floats: atomo(shapes, way.rank), bytes: null }
    case 'bits':
      return { floats: (plan(shapes).denseFloats * way.bits) / 32, bytes: null }
    case 'gossip':
      return await gossip(shapes, plain())
    case 'gossip, signs':
      return await gossip(shapes, choco({ compression: 'sign', gamma: 0.45 }))
    case 'PowerGossip':
      return await gossip(shapes, powerGossip({ iterations: way.iterations }))
  }
}

/**
 * Spectral Atomo's singular vectors and values, with the matrices of the paper's program: vectors in two
 * columns, convolutions in as many rows as they have pairs of channels; but 1 × 1 as they are.
 */
function atomo(shapes: Shapes, rank: number): number {
  const reshaped = shapes.map(([out = 1, input, ...kernel]): ParameterSpec => {
    const size = kernel.reduce((product, n) => product * n, 1)
    if (input === undefined) return { shape: [out / 2, 2], compress: true }
    if (size === 1) return { shape: [out, input], compress: true }
    return { shape: [(out * input) / 2, 2 * size], compress: true }
  })
  const { floats, parameters } = plan(reshaped, { method: bestRank(), rank })
  return parameters.reduce((sum, { rank }) => sum + rank, floats)
}

const NEIGHBOURS = 2

/** In a ring. Two iterations are looked at: half-steps take turns. */
async function gossip(shapes: Shapes, method: GossipMethod): Promise<Sent> {
  const frames = await framesOf(shapes, method)
  // What a frame has besides: that of as many parameters of one number each, but for those.
  const [least] = await framesOf(Array<readonly number[]>(shapes.length).fill([1]), plain())
  const head = least! - 4 * shapes.length
  const mean = (of: (bytes: number) => number) =>
    (NEIGHBOURS * frames.reduce((sum, bytes) => sum + of(bytes), 0)) / 2
  return { floats: mean((bytes) => (bytes - head) / 4), bytes: mean((bytes) => bytes) }
}

/** Lengths of all frames from one node to another in two iterations. */
async function framesOf(shapes: Shapes, method: GossipMethod): Promise<number[]> {
  const nodes = [
    await createGossip(shapes, { self: 0, neighbours: { 1: 1 / 3 }, method }),
    await createGossip(shapes, { self: 1, neighbours: { 0: 1 / 3 }, method }),
  ] as const
  const models = nodes.map((_, i) =>
    shapes.map((shape, j) =>
      new Float32Array(shape.reduce((length, n) => length * n, 1)).fill(1 + i + j),
    ),
  )
  const lengths: number[] = []
  for (let iteration = 0; iteration < 2; iteration++) {
    let frames: (ReadonlyMap<number, Uint8Array> | null)[] = nodes.map((node, i) =>
      node.beginSync(models[i]!),
    )
    while (frames[0]) {
      const [there, back] = [frames[0].get(1)!, frames[1]!.get(0)!]
      lengths.push(there.length)
      nodes[1].receive(0, there)
      nodes[0].receive(1, back)
      frames = nodes.map((node, i) => node.applySync(models[i]!).frames)
    }
  }
  return lengths
}
