// Ways to exchange gradients, as descriptions that JSON can hold, and the library's options for
// them.
import type { Method, Options } from 'lowrank'
import { randomBlock, randomK, signNorm, topK, uncompressed } from 'lowrank/baselines'
import { accordion, halfSteps } from 'lowrank/methods'

/** PowerSGD's full step, unless `method` is another. */
export interface Way {
  readonly method?: keyof typeof METHODS
  readonly rank?: number
  /** for top K: sent part of the bytes of everything */
  readonly ratio?: number
  /** for Accordion: the lower rank (`rank` is the higher one), and its window in steps */
  readonly low?: number
  readonly window?: number
  readonly iterations?: number
  readonly wire?: Options['wire']
  readonly warmStart?: boolean | 'fixed'
  readonly errorFeedback?: 'local' | 'none'
}

const METHODS = {
  uncompressed: () => uncompressed(),
  halfSteps: () => halfSteps(),
  randomBlock: ({ rank }: Way) => randomBlock({ rank: rank! }),
  randomK: ({ rank }: Way) => randomK({ rank: rank! }),
  topK: ({ ratio }: Way) => topK({ ratio: ratio! }),
  signNorm: () => signNorm(),
  accordion: ({ low, rank, window }: Way, learningRate: () => number) =>
    accordion({ low: low!, high: rank!, window: window!, learningRate }),
} as const satisfies Record<string, (way: Way, learningRate: () => number) => Method>

/** Methods with ranks of their own, or none. */
const RANKLESS: readonly (keyof typeof METHODS | undefined)[] = [
  'uncompressed',
  'randomBlock',
  'randomK',
  'topK',
  'signNorm',
  'accordion',
]

/**
 * The options for `createCompressor` and `plan`.
 *
 * @param learningRate  returns the learning rate of the step that begins, for Accordion
 */
export function optionsOf(way: Way, seed: number, learningRate: () => number): Options {
  const { rank, iterations, wire, warmStart, errorFeedback } = way
  const method = way.method && METHODS[way.method](way, learningRate)
  return {
    ...(method && { method }),
    ...(rank !== undefined && !RANKLESS.includes(way.method) && { rank }),
    ...(method?.supportedOptions.includes('seed') === false ? {} : { seed }),
    ...(iterations && { iterations }),
    ...(wire && { wire }),
    ...(warmStart !== undefined && { warmStart }),
    ...(errorFeedback && { errorFeedback }),
  }
}

/** A few words about the way, for progress. */
export function wordsOf({ method, ...others }: Way): string {
  const rest = Object.entries(others).map(([name, value]) => `${name} ${value}`)
  return [method ?? 'powersgd', ...rest].join(' ')
}
