// Every method, with options that make them comparable, for tests that go through all methods.
import {
  bestRank,
  randomBlock,
  randomK,
  signNorm,
  topK,
  uncompressed,
} from '../../src/baselines.ts'
import { dad, factored, rankDad } from '../../src/factored.ts'
import type { Options } from '../../src/index.ts'
import { accordion, byEnergy, dion, epfml, halfSteps, paper, pytorch } from '../../src/methods.ts'

/** At rank 2, or at about the same cost. */
export const METHODS = {
  'full steps': { rank: 2 },
  halfSteps: { method: halfSteps(), rank: 2 },
  accordion: { method: accordion({ low: 1, high: 2, window: 98 }) },
  byEnergy: { method: byEnergy({ most: 4, every: 98 }), rank: 2 },
  dion: { method: dion(), rank: 2 },
  paper: { method: paper(), rank: 2 },
  epfml: { method: epfml(), rank: 2, startCompressingAfter: 0 },
  pytorch: { method: pytorch(), rank: 2 },
  topK: { method: topK({ ratio: 1 / 136 }) },
  randomK: { method: randomK({ rank: 2 }) },
  randomBlock: { method: randomBlock({ rank: 2 }) },
  signNorm: { method: signNorm() },
  bestRank: { method: bestRank(), rank: 2 },
  uncompressed: { method: uncompressed() },
  factored: { method: factored(), rank: 2 },
  dad: { method: dad({ samples: 1 << 17 }) },
  rankDad: { method: rankDad(), rank: 2 },
} as const satisfies Record<string, Options>

export type Name = keyof typeof METHODS

/** The methods that keep whatever part of a worker's own gradients they could not send. */
export const LOCAL: readonly Name[] = [
  'full steps',
  'halfSteps',
  'accordion',
  'byEnergy',
  'epfml',
  'topK',
  'randomK',
  'randomBlock',
  'signNorm',
  'bestRank',
  'uncompressed',
]
