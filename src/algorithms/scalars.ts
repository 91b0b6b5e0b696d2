// Scalars for methods that adapt ranks: each worker adds a few numbers to a step's last frame and
// receives their means. All workers receive the same means, so they decide on the same ranks.

import type { Finish, Incoming, Outgoing, StepGenerator } from '../algorithm.ts'
import { LIMIT } from '../codec/wire/wire-type.ts'
import type { Round } from '../options.ts'

/**
 * Converts numbers ≥ 0 to float32 scalars. Numbers that are too large for a frame become the
 * largest float32 below `LIMIT`, because a frame with larger scalars is not sent.
 */
export function scalarsOf(values: readonly number[]): Float32Array {
  return Float32Array.from(values, (value) => Math.min(value, LIMIT * (1 - 2 ** -24)))
}

/**
 * Runs a step and adds these scalars to its last frame, the one that ends with the slot `raw`.
 *
 * @returns the end of the step, and the mean of that frame
 */
export function* withScalars(
  steps: StepGenerator,
  scalars: Float32Array,
): Generator<Outgoing | Promise<unknown>, { finish: Finish; mean: Incoming }, unknown> {
  let mean: Incoming | undefined
  for (let reply: unknown; ; ) {
    const { done, value } = steps.next(reply)
    if (done) return { finish: value, mean: mean! }
    const last = 'slots' in value && value.slots.at(-1) === 'raw'
    reply = yield last ? { ...value, scalars } : value
    if (last) mean = reply as Incoming
  }
}

/**
 * Adds scalars to the last of the rounds of a step.
 *
 * @param scalars  how many the last frame carries, on the average over the steps
 */
export function roundsWithScalars(rounds: readonly Round[], scalars: number): Round[] {
  return rounds.map((round, i) => (i === rounds.length - 1 ? { ...round, scalars } : round))
}
