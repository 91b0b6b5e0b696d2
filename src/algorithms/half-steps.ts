// PowerSGD by alternating half-steps: one product a round, its other factor being what the round
// before made. The authors' package (epfml/powersgd) and ACP-SGD (Zhang et al. 2023) have it so, with the
// feedback of Algorithm 2 of arXiv 1905.13727.

import type { Layout } from '../backend.ts'
import { gatedRanks, leftColumns, rawLengths, rightColumns } from '../layout.ts'
import type { Method, Round, Settings, SharedOptions } from '../options.ts'
import { HalfStepAlgorithm, type SentFactor } from './alternation.ts'

/** The shared options that mean something to half-steps. `warmStart: false` would be `refresh: 1`. */
export const HALF_STEP_OPTIONS = [
  'rank',
  'seed',
  'iterations',
  'minCompressionRate',
  'startCompressingAfter',
  'refresh',
  'errorFeedback',
] as const satisfies (keyof SharedOptions)[]

/**
 * Half-steps: `iterations` of them a step, in a round each, so that one round a step is enough (the
 * default). What is sent alternates between P and Q from half-step to half-step, across steps too; P first.
 * A step's later half-steps see what its earlier ones left: k of them make an update of rank ⌈k/2⌉·r.
 *
 * Each round's mean counts by itself. A worker that is not in it keeps what it sent there; if nobody
 * is, nothing has happened: factors and what is sent next stay as they were, and so the next half-step
 * tries the same again. Raw tensors, and `Outcome`, follow the step's last round. Hence `abort` is for a
 * worker none of whose frames of this step is in a mean, or for all workers together.
 *
 * Two of them cost what a full step does, and, from the same Q̂, their update is the same, too.
 */
export function halfSteps(): Method {
  return {
    name: 'half-steps',
    supportedOptions: HALF_STEP_OPTIONS,
    check: checkFeedback,
    ranks: (specs, settings, wanted) =>
      gatedRanks(specs, settings, wanted, {
        cost: (rows, cols, rank) => (settings.iterations * rank * (rows + cols)) / 2,
      }),
    cycle: (layout, settings) => halfRounds(layout, settings),
    create: (setup) => new HalfStepAlgorithm(setup),
  }
}

/** @throws RangeError  for feedback that is not of this worker's own */
export function checkFeedback({ errorFeedback, method }: Settings): void {
  if (errorFeedback !== 'aggregated') return
  throw new RangeError(
    `"errorFeedback": expected 'local' or 'none' with ${method.name}, got 'aggregated'`,
  )
}

/** What half-steps send in the steps of a cycle. */
export function halfRounds(
  layout: Layout,
  { iterations }: Settings,
  first: SentFactor = 'P',
): Round[][] {
  const raw = rawLengths(layout)
  if (layout.matrices.length === 0) return [[{ kind: 'summed', columns: raw }]]
  const sides =
    first === 'P'
      ? [leftColumns(layout), rightColumns(layout)]
      : [rightColumns(layout), leftColumns(layout)]
  // After an odd number, the next step begins with the other side.
  return Array.from({ length: iterations % 2 === 0 ? 1 : 2 }, (_, step) =>
    Array.from({ length: iterations }, (_, k): Round => {
      const columns = sides[(step + k) % 2]!
      return { kind: 'summed', columns: k === iterations - 1 ? [...columns, ...raw] : columns }
    }),
  )
}
