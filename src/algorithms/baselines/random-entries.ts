// Entries that chance chooses, the same on every worker: only their values travel, to be averaged.

import type { Incoming, Outgoing } from '../../algorithm.ts'
import type { Layout, Parameter } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import { philox } from '../../linalg/philox.ts'
import type { Method } from '../../options.ts'
import { integer } from '../../validate.ts'
import { type FlatExchange, flat, subtractAt } from './flat.ts'

/**
 * Chooses entries of one parameter.
 *
 * @param into  as many indices into it, distinct
 */
export type Chooser = (into: Uint32Array, parameter: Parameter, step: number, seed: number) => void

/**
 * The method that sends min(rank · (rows + cols), length) entries of each parameter: what factors of
 * that rank take. Where that is all of them, they are not chosen.
 *
 * @param chooser  called for each parameter with entries left over
 * @throws TypeError, RangeError  if the rank is none
 */
export function randomEntries(
  name: string,
  rank: number,
  chooser: (layout: Layout) => Chooser,
): Method {
  integer('rank', rank, 1, 65535)
  const counts = (layout: Layout) =>
    layout.raws.map(({ rows, cols, length }) => Math.min(rank * (rows + cols), length))
  return flat({
    name,
    options: { rank },
    heeds: ['seed'],
    round: (layout) => ({ kind: 'summed', columns: counts(layout) }),
    exchange: (layout, { seed }) =>
      new RandomEntries(layout, counts(layout), seed, chooser(layout)),
  })
}

class RandomEntries implements FlatExchange {
  readonly #layout: Layout
  /** entries to send of each parameter */
  readonly #counts: readonly number[]
  readonly #seed: number
  readonly #chooser: Chooser
  /** where they are among all parameters */
  readonly #indices: Uint32Array
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

/** What key words say a choice is for: uses of first and replaced factors count up from 0. */
const CHOICES = 0xffffffff

/**
 * Uniform integers from 0 to bound − 1, one after another: words of Philox4x32-10 at counter (block, 0,
 * parameter, step) under key (seed, CHOICES), from the first word on. Those are left out that would
 * make some remainders likelier than others.
 */
export function uniformIntegers(
  seed: number,
  parameter: number,
  step: number,
): (bound: number) => number {
  let words: readonly number[] = []
  let at = 0
  return (bound) => {
    const most = 2 ** 32 - (2 ** 32 % bound)
    for (;;) {
      if (at % 4 === 0) words = philox([at / 4, 0, parameter, step], [seed, CHOICES])
      const word = words[at++ % 4]!
      if (word < most) return word % bound
    }
  }
}
