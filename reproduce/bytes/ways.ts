// Counts what a worker sends in a step with each of the methods in the papers' tables. `plan` gives
// the counts, or `planGossip` where there is no coordinator.
import { type ParameterSpec, plan } from 'lowrank'
import { bestRank, randomBlock, randomK, signNorm, topK, uncompressed } from 'lowrank/baselines'
import { choco, moniqua, plain, planGossip, powerGossip } from 'lowrank/gossip'
import { halfSteps } from 'lowrank/methods'

type Shapes = readonly (readonly number[])[]

/**
 * A method, as papers name it. With rank r, r · (n + m) floats are sent for a matrix, whatever the
 * method sends them as.
 */
export type Way =
  | { readonly name: 'whole' | 'sign + norm' | 'gossip' | 'gossip, signs' | 'Moniqua' }
  | {
      readonly name: 'rank' | 'half-steps' | 'random block' | 'random k' | 'atomo'
      readonly rank: number
    }
  /** sends one in `part` floats, indices counted in */
  | { readonly name: 'top k'; readonly part: number }
  /** sends so many bits of each entry, to all receivers */
  | { readonly name: 'bits'; readonly bits: number }
  | { readonly name: 'PowerGossip'; readonly iterations: number }

/** The amount that one worker sends in one step, to all its neighbours. */
export interface Sent {
  /** words of 32 bits: what papers count */
  readonly floats: number
  /** of the frames with their headers; null: the library has no such method */
  readonly bytes: number | null
}

/** Compresses every matrix, whether or not that saves bytes, as the papers do. */
const ALWAYS = { minCompressionRate: 0 }

export function sent(shapes: Shapes, way: Way): Sent {
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
      return planGossip(shapes, { method: plain() })
    case 'gossip, signs':
      return planGossip(shapes, { method: choco({ compression: 'sign', gamma: 0.45 }) })
    case 'Moniqua':
      return planGossip(shapes, { method: moniqua({ theta: 1 }) })
    case 'PowerGossip':
      return planGossip(shapes, { method: powerGossip({ iterations: way.iterations }) })
  }
}

/**
 * The floats of Spectral Atomo's singular vectors and values.
 *
 * The matrices are those of the paper's program. A vector becomes a matrix of two columns. A
 * convolution gets one row for every two pairs of channels; one of 1 × 1 stays as it is.
 */
function atomo(shapes: Shapes, rank: number): number {
  const reshaped = shapes.map(([out = 1, input, ...kernel]): ParameterSpec => {
    const size = kernel.reduce((product, n) => product * n, 1)
    if (input === undefined) return { shape: [out / 2, 2], compress: true }
    if (size === 1) return { shape: [out, input], compress: true }
    return { shape: [(out * input) / 2, 2 * size], compress: true }
  })
  const { floats, parameters } = plan(reshaped, { method: bestRank(), rank })
  return parameters.reduce((sum, { rank }) => sum + (rank === 'frozen' ? 0 : rank), floats)
}
