// Random entries, the same on every worker, so that only their values travel and are averaged.

import type { Incoming, Outgoing } from '../../algorithm.ts'
import type { Layout, Parameter } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import { philox } from '../../linalg/philox.ts'
import { type Method, MOST_RANK } from '../../options.ts'
import { integer } from '../../validate.ts'
import { type FlatExchange, flat, subtractAt } from './flat.ts'

/**
 * Chooses entries of one parameter.
 *
 * @param into  out: that many distinct indices into the parameter
 */
export type Chooser = (into: Uint32Array, parameter: Parameter, step: number, seed: number) => void

/**
 * The method that sends min(rank · (rows + cols), length) entries of each parameter: as many as
 * factors of that rank would have floats.
 *
 * @param chooser  creates the chooser for a layout. The chooser is not called for parameters that
 *   are sent whole
 * @throws TypeError, RangeError  naming the option
 */
export function randomEntries(
  name: string,
  rank: number,
  chooser: (layout: Layout) => Chooser,
): Method {
  integer('rank', rank, 1, MOST_RANK)
  const counts = (layout: Layout) =>
    layout.raws.map(({ rows, cols, length }) => Math.min(rank * (rows + cols), length))
  return flat({
    name,
    options: { rank },
    supportedOptions: ['seed'],
    round: (layout) => ({ kind: 'summed', columns: counts(layout) }),
    exchange: (layout, { seed }) =>
      new RandomEntries(layout, counts(layout), seed, chooser(layout)),
  })
}

class RandomEntries implements FlatExchange {
  readonly #layout: Layout
  /** the number of entries to send of each parameter */
  readonly #counts: readonly number[]
  readonly #seed: number
  readonly #chooser: Chooser
  /** the indices of the entries of this step, counted over all parameters end to end */
  readonly #indices: Uint32Array
  /** their values, as other workers decode them once the frame is made */
  readonly #values: Float32Array

  constructor(layout: Layout, counts: readonly number[], seed: number, chooser: Chooser) {
    const total = counts.reduce((a, b) => a + b, 0)
    this.#layout = layout
    this.#counts = counts
    this.#seed = seed
    this.#chooser = chooser
    this.#indices = new Uint32Array(total)
    this.#values = new Float32Array(total)
  }

  prepare(step: number): void {
    let at = 0
    for (const [i, parameter] of this.#layout.raws.entries()) {
      const count = this.#counts[i]!
      const indices = this.#indices.subarray(at, at + count)
      at += count
      if (count < parameter.length) this.#chooser(indices, parameter, step, this.#seed)
      else for (let j = 0; j < count; j++) indices[j] = j
      for (let j = 0; j < count; j++) indices[j] = indices[j]! + parameter.raw
    }
  }

  send(m: Float32Array): Outgoing {
    for (let j = 0; j < this.#values.length; j++) this.#values[j] = m[this.#indices[j]!]!
    return { summed: { floats: this.#values, columns: this.#counts } }
  }

  deflate(m: Float32Array): void {
    subtractAt(m, this.#indices, this.#values)
  }

  receive({ values }: Incoming, update: Float32Array): void {
    bytesOf(this.#values).set(values)
    for (let j = 0; j < this.#values.length; j++) update[this.#indices[j]!] = this.#values[j]!
  }
}

/**
 * The second key word of the random numbers for choices. Those of factors and replaced columns
 * count up from 0.
 */
const CHOICES = 0xffffffff

/**
 * Returns a source of uniform integers from 0 to bound − 1. They are remainders of the words of
 * Philox4x32-10 with counter (block, 0, parameter, step) and key (seed, CHOICES), beginning with
 * the first word. Words that would make some remainders likelier than others are skipped.
 *
 * @returns the source; `bound` is from 1 to 2³²
 */
export function uniformIntegers(
  seed: number,
  parameter: number,
  step: number,
): (bound: number) => number {
  let words: readonly number[] = []
  let at = 0
  return (bound) => {
    const end = 2 ** 32 - (2 ** 32 % bound)
    for (;;) {
      if (at % 4 === 0) words = philox([at / 4, 0, parameter, step], [seed, CHOICES])
      const word = words[at++ % 4]!
      if (word < end) return word % bound
    }
  }
}
