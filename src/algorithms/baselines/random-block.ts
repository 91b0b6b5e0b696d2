// Random block: consecutive entries from a random start. RandomSparseBlockReducer of
// epfml/powersgd, paper-code.

import type { Method } from '../../options.ts'
import { aFunction, knownOptions, show } from '../../validate.ts'
import { type Chooser, randomEntries, uniformIntegers } from './random-entries.ts'

/**
 * Chooses where a block of `count` entries begins. Every worker must choose the same, because
 * frames do not carry the choice.
 *
 * @param parameter  the index of the parameter
 * @param length  of the parameter
 * @returns an index from 0 to length − 1
 */
export type ChooseStart = (parameter: number, step: number, length: number, count: number) => number

/**
 * Sends consecutive entries of each parameter: as many as factors of this rank would have floats,
 * min(rank · (rows + cols), length). The block begins at a uniformly random place, chosen anew in
 * each step from the shared seed; after the last entry it goes on with the first. Values are not
 * scaled up, because the residual brings the other entries later.
 *
 * Memory: two float32 arrays as large as the model, besides what is sent.
 *
 * Source: RandomSparseBlockReducer of epfml/powersgd, paper-code.
 *
 * @param options.rank  an integer from 1 to 65534. It is an option of the method, because frames of
 *   raw parameters carry no rank
 * @param options.choose  replaces the seeded choice, to replay recorded runs. It is each worker's
 *   own, so frames are not checked for it. Default: the seeded choice
 * @throws TypeError, RangeError  naming the option
 */
export function randomBlock(options: {
  readonly rank: number
  readonly choose?: ChooseStart
}): Method {
  const { rank, choose } = knownOptions(options, ['rank', 'choose'])
  if (choose !== undefined) aFunction('choose', choose)
  const start = choose ? checkedStart(choose) : seededStart
  const chooser: Chooser = (into, parameter, step, seed) => {
    const from = start(parameter.index, step, parameter.length, into.length, seed)
    for (let j = 0; j < into.length; j++) into[j] = (from + j) % parameter.length
  }
  return randomEntries('randomBlock', rank, () => chooser)
}

/** `ChooseStart` with the shared seed as its last argument. */
type Start = (...args: [...Parameters<ChooseStart>, seed: number]) => number

/** The seeded choice. */
const seededStart: Start = (parameter, step, length, _count, seed) =>
  uniformIntegers(seed, parameter, step)(length)

/**
 * Wraps `choose`.
 *
 * @throws RangeError  if it returns no index of the parameter
 */
function checkedStart(choose: ChooseStart): Start {
  return (parameter, step, length, count) => {
    const from = choose(parameter, step, length, count)
    if (Number.isInteger(from) && from >= 0 && from < length) return from
    throw new RangeError(`"choose": expected an index from 0 to ${length - 1}, got ${show(from)}`)
  }
}
