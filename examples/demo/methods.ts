// What the demo can compress with, by name; each with what suits the demo's model.
import type { Method, SharedOptions } from 'lowrank'
import { bestRank, randomBlock, randomK, signNorm, topK, uncompressed } from 'lowrank/baselines'
import { dad, factored, rankDad } from 'lowrank/factored'
import { accordion, byEnergy, dion, epfml, halfSteps, paper, pytorch } from 'lowrank/methods'
import { BATCH } from './model.ts'

/** What a method may be made of. */
interface Wishes {
  readonly rank: number
  readonly steps: number
  /** of the step that begins */
  readonly learningRate: () => number
}

/** How the demo goes about a method. */
interface Way {
  /** Absent: PowerSGD, which needs not be named. */
  readonly method?: (wishes: Wishes) => Method
  /** true: layers' gradients are given as factors */
  readonly factored?: boolean
  /** false: frames are gathered, which engines that sum cannot do */
  readonly summed?: boolean
  /** Shared options beside it. */
  readonly options?: Omit<SharedOptions, 'method'>
  /** The optimiser beside it, where it is not momentum on the update. */
  readonly optimiser?: { readonly momentum: number; readonly learningRate: number }
}

const WAYS = {
  powersgd: {},
  'half-steps': { method: halfSteps },
  accordion: {
    // Windows of a fiftieth of the run, as epochs are of an ordinary one.
    method: ({ rank, steps, learningRate }) =>
      accordion({
        low: Math.max(1, Math.floor(rank / 2)),
        high: Math.max(2, rank),
        window: Math.max(1, Math.round(steps / 50)),
        learningRate,
      }),
  },
  energy: { method: ({ rank }) => byEnergy({ fraction: 0.5, most: 2 * rank, every: 10 }) },
  factored: { method: factored, factored: true },
  'rank-dad': { method: () => rankDad(), factored: true, summed: false },
  dad: { method: () => dad({ samples: BATCH }), factored: true, summed: false },
  // Its update has length √rank whatever the gradient's: the learning rate is another one.
  dion: { method: () => dion(), optimiser: { momentum: 0, learningRate: 0.15 } },
  'top-k': { method: () => topK({ ratio: 1 / 32 }), summed: false },
  'random-k': { method: ({ rank }) => randomK({ rank }) },
  'random-block': { method: ({ rank }) => randomBlock({ rank }) },
  'sign-norm': { method: () => signNorm(), summed: false },
  'best-rank': { method: bestRank, summed: false },
  uncompressed: { method: uncompressed },
  paper: { method: paper },
  reference: { method: epfml, options: { startCompressingAfter: 0 } },
  pytorch: { method: pytorch },
} as const satisfies Record<string, Way>

export type MethodName = keyof typeof WAYS

export const METHODS = Object.keys(WAYS) as MethodName[]

export function wayOf(name: MethodName): Way {
  return WAYS[name]
}
