// The demo's methods by name, each with the options that suit the demo's model.
import type { Method, SharedOptions } from 'lowrank'
import { bestRank, randomBlock, randomK, signNorm, topK, uncompressed } from 'lowrank/baselines'
import { dad, factored, rankDad } from 'lowrank/factored'
import { accordion, byEnergy, dion, epfml, halfSteps, paper, pytorch } from 'lowrank/methods'
import { BATCH } from './model.ts'

/** The settings that a method may use. */
interface Wishes {
  readonly rank: number
  readonly steps: number
  /** of the step that begins */
  readonly learningRate: () => number
}

/** How the demo creates a method and trains with it. */
interface Way {
  /** Absent: PowerSGD, the default. */
  readonly method?: (wishes: Wishes) => Method
  /** true: layers' gradients are given as factors */
  readonly factored?: boolean
  /** false: frames are gathered, which MPI_Allreduce cannot do */
  readonly summed?: boolean
  /** Shared options to go with the method. */
  readonly options?: Omit<SharedOptions, 'method'>
  /** The optimiser to go with the method, unless it is `USUAL`. */
  readonly optimiser?: { readonly momentum: number; readonly learningRate: number }
}

const WAYS = {
  powersgd: {},
  'half-steps': { method: () => halfSteps() },
  accordion: {
    // A window is a fiftieth of the run, about what an epoch is of an ordinary run.
    method: ({ rank, steps, learningRate }) =>
      accordion({
        low: Math.max(1, Math.floor(rank / 2)),
        high: Math.max(2, rank),
        window: Math.max(1, Math.round(steps / 50)),
        learningRate,
      }),
  },
  energy: { method: ({ rank }) => byEnergy({ fraction: 0.5, most: 2 * rank, every: 10 }) },
  factored: { method: () => factored(), factored: true },
  'rank-dad': { method: () => rankDad(), factored: true, summed: false },
  dad: { method: () => dad({ samples: BATCH }), factored: true, summed: false },
  // Dion's update has length √rank, however long the gradient: so it has its own learning rate.
  dion: { method: () => dion(), optimiser: { momentum: 0, learningRate: 0.15 } },
  'top-k': { method: () => topK({ ratio: 1 / 32 }), summed: false },
  'random-k': { method: ({ rank }) => randomK({ rank }) },
  'random-block': { method: ({ rank }) => randomBlock({ rank }) },
  'sign-norm': { method: () => signNorm(), summed: false },
  'best-rank': { method: () => bestRank(), summed: false },
  uncompressed: { method: () => uncompressed() },
  paper: { method: () => paper() },
  reference: { method: () => epfml(), options: { startCompressingAfter: 0 } },
  pytorch: { method: () => pytorch() },
} as const satisfies Record<string, Way>

export type MethodName = keyof typeof WAYS

export const METHODS = Object.keys(WAYS) as MethodName[]

export function wayOf(name: MethodName): Way {
  return WAYS[name]
}
