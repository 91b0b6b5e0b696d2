// Random K: entries that chance chooses. RandomSparseReducer of epfml/powersgd, paper-code.

import type { Parameter } from '../../backend.ts'
import type { Method } from '../../options.ts'
import { show } from '../../validate.ts'
import { type Chooser, randomEntries, uniformIntegers } from './random-entries.ts'

/**
 * Chooses `count` distinct indices below `length`. It must choose alike on every worker: frames do not
 * tell.
 *
 * @param parameter  its number
 */
export type ChooseIndices = (
  parameter: number,
  step: number,
  length: number,
  count: number,
) => ArrayLike<number>

/**
 * Of each parameter as many entries as factors of this rank would take, min(rank · (rows + cols), length),
 * chosen anew in each step from the shared seed, uniformly. Values are not scaled up: what is not sent
 * comes later.
 *
 * Memory: two arrays as large as the model in float32, a bit for each entry of the largest parameter,
 * besides what is sent.
 *
 * @param options.rank  an integer from 1 to 65535: an option of its own, for the frames name no rank
 * @param options.choose  instead of the seeded choice, to replay recorded runs: each worker's own
 *   affair, so not among the options that frames are checked for
 * @throws TypeError, RangeError  naming the option
 */
export function randomK({
  rank,
  choose,
}: {
  readonly rank: number
  readonly choose?: ChooseIndices
}): Method {
  if (choose !== undefined && typeof choose !== 'function') {
    throw new TypeError(`"choose": expected a function, got ${show(choose)}`)
  }
  return randomEntries('randomK', rank, ({ raws }) => {
    const marks = new Marks(raws.reduce((most, { length }) => Math.max(most, length), 0))
    return choose ? given(marks, choose) : drawn(marks)
  })
}

/** Floyd's algorithm (Bentley & Floyd, "A sample of brilliance", 1987): one number for each entry. */
function drawn(marks: Marks): Chooser {
  return (into, { index, length }, step, seed) => {
    const below = uniformIntegers(seed, index, step)
    for (let last = length - into.length; last < length; last++) {
      if (!marks.add(below(last + 1))) marks.add(last)
    }
    marks.drain(into)
  }
}

function given(marks: Marks, choose: ChooseIndices): Chooser {
  return (into, parameter, step) => {
    const count = into.length
    const indices = choose(parameter.index, step, parameter.length, count)
    const wrong = wrongIn(indices, parameter, count)
    if (wrong !== null) throw new RangeError(`"choose": ${wrong}`)
    for (let j = 0; j < count; j++) marks.add(indices[j]!)
    if (marks.drain(into) < count) {
      throw new RangeError(`"choose": expected ${count} distinct indices, got one twice`)
    }
  }
}

function wrongIn(indices: ArrayLike<number>, { length }: Parameter, count: number): string | null {
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

/** A set of small integers: a bit for each. */
class Marks {
  readonly #words: Int32Array

  constructor(most: number) {
    this.#words = new Int32Array(Math.ceil(most / 32))
  }

  /** @returns false if it is in already */
  add(index: number): boolean {
    const [word, bit] = [index >>> 5, 1 << (index & 31)]
    if (this.#words[word]! & bit) return false
    this.#words[word]! |= bit
    return true
  }

  /** Takes all out, ascending; returns how many there were. */
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
