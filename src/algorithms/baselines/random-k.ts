// Random K: random entries. RandomSparseReducer of epfml/powersgd, paper-code.

import type { Parameter } from '../../backend.ts'
import type { Method } from '../../options.ts'
import { aFunction, knownOptions, show } from '../../validate.ts'
import { type Chooser, randomEntries, uniformIntegers } from './random-entries.ts'

/**
 * Chooses `count` distinct indices from 0 to length − 1. Every worker must choose the same, because
 * frames do not carry the choice.
 *
 * @param parameter  the index of the parameter
 * @param length  of the parameter
 */
export type ChooseIndices = (
  parameter: number,
  step: number,
  length: number,
  count: number,
) => ArrayLike<number>

/**
 * Sends random entries of each parameter: as many as factors of this rank would have floats,
 * min(rank · (rows + cols), length). They are chosen uniformly, anew in each step, from the shared
 * seed. Values are not scaled up, because the residual brings the other entries later.
 *
 * Memory: two float32 arrays as large as the model and a bit for each entry of the largest
 * parameter, besides what is sent.
 *
 * Source: RandomSparseReducer of epfml/powersgd, paper-code.
 *
 * @param options.rank  an integer from 1 to 65534. It is an option of the method, because frames of
 *   raw parameters carry no rank
 * @param options.choose  replaces the seeded choice, to replay recorded runs. It is each worker's
 *   own, so frames are not checked for it. Default: the seeded choice
 * @throws TypeError, RangeError  naming the option
 */
export function randomK(options: {
  readonly rank: number
  readonly choose?: ChooseIndices
}): Method {
  const { rank, choose } = knownOptions(options, ['rank', 'choose'])
  if (choose !== undefined) aFunction('choose', choose)
  return randomEntries('randomK', rank, ({ raws }) => {
    const chosen = new IndexSet(raws.reduce((most, { length }) => Math.max(most, length), 0))
    return choose ? checkedChooser(chosen, choose) : seededChooser(chosen)
  })
}

/**
 * The seeded choice by Floyd's algorithm (Bentley & Floyd, "A sample of brilliance", 1987): it
 * draws one number for each entry.
 */
function seededChooser(chosen: IndexSet): Chooser {
  return (into, { index, length }, step, seed) => {
    const below = uniformIntegers(seed, index, step)
    for (let last = length - into.length; last < length; last++) {
      if (!chosen.add(below(last + 1))) chosen.add(last)
    }
    chosen.drain(into)
  }
}

/**
 * Wraps `choose`.
 *
 * @throws RangeError  if its indices are not `count` distinct indices of the parameter
 */
function checkedChooser(chosen: IndexSet, choose: ChooseIndices): Chooser {
  return (into, parameter, step) => {
    const count = into.length
    const indices = choose(parameter.index, step, parameter.length, count)
    const fault = faultIn(indices, parameter, count)
    if (fault !== null) throw new RangeError(`"choose": ${fault}`)
    for (let j = 0; j < count; j++) chosen.add(indices[j]!)
    if (chosen.drain(into) < count) {
      throw new RangeError(`"choose": expected ${count} distinct indices, got one twice`)
    }
  }
}

/** The fault of chosen indices, as text; null: none. Duplicates are not looked for. */
function faultIn(indices: ArrayLike<number>, { length }: Parameter, count: number): string | null {
  if (indices?.length !== count) {
    return `expected ${count} indices, got ${indices?.length ?? show(indices)}`
  }
  for (let j = 0; j < count; j++) {
    const index = indices[j]!
    if (!Number.isInteger(index) || index < 0 || index >= length) {
      return `expected indices from 0 to ${length - 1}, got ${show(index)}`
    }
  }
  return null
}

/** A set of integers from 0 to below a limit, with one bit for each. */
class IndexSet {
  readonly #words: Int32Array

  constructor(limit: number) {
    this.#words = new Int32Array(Math.ceil(limit / 32))
  }

  /**
   * @returns false if the index is in the set already
   */
  add(index: number): boolean {
    const [word, bit] = [index >>> 5, 1 << (index & 31)]
    if (this.#words[word]! & bit) return false
    this.#words[word]! |= bit
    return true
  }

  /**
   * Empties the set into an array, in ascending order.
   *
   * @returns how many indices there were
   */
  drain(into: Uint32Array): number {
    let at = 0
    for (let word = 0; word < this.#words.length; word++) {
      for (let rest = this.#words[word]!; rest !== 0; rest &= rest - 1) {
        into[at++] = 32 * word + 31 - Math.clz32(rest & -rest)
      }
    }
    this.#words.fill(0)
    return at
  }
}
