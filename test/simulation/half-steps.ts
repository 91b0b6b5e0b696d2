// A step of half-steps: each round's product leaves M before the next round.
import * as assert from 'uvu/assert'
import type { Side } from '../../src/backend.ts'
import type { SharedOptions } from '../../src/index.ts'
import { sameFloats } from '../support/close.ts'
import type { Opened } from '../support/frames.ts'
import { basis, type Contribution, drawnAfter } from './expected-layout.ts'
import { type Shared, StepRecord } from './step-record.ts'

const other = (side: Side): Side => (side === 'left' ? 'right' : 'left')

export class HalfSteps extends StepRecord {
  /** by round: the side that is sent, and the basis of the other side */
  readonly #halves: { side: Side; fixed: Float32Array }[] = []
  /** the last mean of either side */
  readonly #factors: Record<Side, Float32Array>

  readonly #refresh: number

  constructor({ refresh = 0 }: SharedOptions, ...common: ConstructorParameters<typeof StepRecord>) {
    super(...common)
    this.#refresh = refresh
    const { left, right, next } = this.before
    this.#factors = { left, right }
    this.#plan(next === 'P' ? 'left' : 'right')
  }

  /** Plans the half-step of the next round. */
  #plan(side: Side): void {
    const { host, layout, step } = this
    const across = other(side)
    this.#halves.push({ side, fixed: basis(host, layout, across, this.#factors[across], step) })
  }

  protected side(round: number): Side {
    return this.#halves[round]!.side
  }

  protected origin(round: number, own: readonly Opened[]) {
    return { lost: this.contributions(own.slice(0, round)), by: this.#halves[round]!.fixed }
  }

  contributions(own: readonly Opened[]): Contribution[] {
    return own.filter((frame) => this.counts(frame)).map((frame) => this.#contribution(frame))
  }

  #contribution(frame: Opened): Contribution {
    const { side, fixed } = this.#halves[frame.round]!
    const { floats } = frame
    const raw = frame.round === this.rounds - 1 ? this.rawOf(frame) : null
    return side === 'left'
      ? { left: floats, right: fixed, raw }
      : { left: fixed, right: floats, raw }
  }

  protected afterMean() {
    const mean = this.means.at(-1)!
    const side = this.side(this.means.length - 1)
    const counted = mean.weight > 0 && this.layout.leftFloats > 0
    if (counted)
      this.#factors[side] = mean.floats.slice(0, this.factorFloats(this.means.length - 1))
    this.#plan(counted ? other(side) : side)
    return (frame: Opened) => this.#contribution(frame)
  }

  follows(after: Shared): void {
    const { aborted, before, means, layout, step } = this
    const nothing = aborted || means.every(({ weight }) => weight === 0)
    assert.is(after.parent === before.parent, nothing, 'the parent changes with every mean')
    const drawn = !nothing && layout.leftFloats > 0 && drawnAfter(step, this.#refresh)
    if (!drawn) {
      const { left, right } = aborted ? before : this.#factors
      sameFloats(after.left, left, 'left factors that are the last mean')
      sameFloats(after.right, right, 'right factors that are the last mean')
    }
    const next = this.#halves.at(-1)!.side === 'left' ? 'P' : 'Q'
    assert.is(after.next, aborted ? before.next : next, 'what is sent next')
  }
}
