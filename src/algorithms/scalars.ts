// What methods that adapt ranks have in common: a step that tells a few numbers more, and is told their
// means, from which all workers conclude the same.

import type { Finish, Incoming, Outgoing, StepGenerator } from '../algorithm.ts'
import { LARGEST } from '../linalg/rayleigh-ritz.ts'
import type { Round } from '../options.ts'

/** Numbers ≥ 0 as scalars, which must be finite for their frame to leave: larger ones become the largest. */
export function scalarsOf(values: readonly number[]): Float32Array {
  return Float32Array.from(values, (value) => Math.min(value, LARGEST))
}

/**
 * A step, with these scalars in its last frame: the one that ends with the raw values.
 *
 * @returns how it ends, and the mean of that frame
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

/** The rounds of its average step. @param scalars  in the last frame, on the average */
export function roundsWithScalars(rounds: readonly Round[], scalars: number): Round[] {
  return rounds.map((round, i) => (i === rounds.length - 1 ? { ...round, scalars } : round))
}
