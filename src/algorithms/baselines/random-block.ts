// Random block: entries in a row, from where chance says. RandomSparseBlockReducer of
// epfml/powersgd, paper-code.
import type { Method } from '../../options.ts'
import { show } from '../../validate.ts'
import { type Chooser, randomEntries, uniformIntegers } from './random-entries.ts'

/**
 * Chooses where a block of `count` entries begins: an index below `length`. It must choose alike on
 * every worker: frames do not tell.
 *
 * @param parameter  its number
 */
export type ChooseStart = (parameter: number, step: number, length: number, count: number) => number

/**
 * Of each parameter as many entries as factors of this rank would take, min(rank · (rows + cols), length),
 * one after another from a place that is chosen anew in each step from the shared seed, uniformly;
 * behind the last entry comes the first. Values are not scaled up: what is not sent comes later.
 *
 * Memory: two arrays as large as the model in float32, besides what is sent.
 *
 * @param options.rank  an integer from 1 to 65535: an option of its own, for the frames name no rank
 * @param options.choose  instead of the seeded choice, to replay recorded runs: each worker's own
 *   affair, so not among the options that frames are checked for
 * @throws TypeError, RangeError  naming the option
 */
export function randomBlock({
  rank,
  choose,
}: {
  readonly rank: number
  readonly choose?: ChooseStart
}): Method {
  if (choose !== undefined && typeof choose !== 'function') {
    throw new TypeError(`"choose": expected a function, got ${show(choose)}`)
  }
  const start = choose ? given(choose) : drawn
  const chooser: Chooser = (into, parameter, step, seed) => {
    const from = start(parameter.index, step, parameter.length, into.length, seed)
    for (let j = 0; j < into.length; j++) into[j] = (from + j) % parameter.length
  }
  return randomEntries('randomBlock', rank, () => chooser)
}

type Start = (...args: [...Parameters<ChooseStart>, seed: number]) => number

const drawn: Start = (parameter, step, length, _count, seed) =>
  uniformIntegers(seed, parameter, step)(length)

function given(choose: ChooseStart): Start {
  return (parameter, step, length, count) => {
    const from = choose(parameter, step, length, count)
    if (Number.isInteger(from) && from >= 0 && from < length) return from
    throw new RangeError(`"choose": expected an index from 0 to ${length - 1}, got ${show(from)}`)
  }
}
