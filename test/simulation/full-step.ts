// A full step: P and Q in turn. Only the last Q leaves M.
import * as assert from 'uvu/assert'
import type { Side } from '../../src/backend.ts'
import type { SharedOptions } from '../../src/index.ts'
import { sameFloats } from '../support/close.ts'
import type { Opened } from '../support/frames.ts'
import { basis, type Contribution, drawnAfter } from './expected-layout.ts'
import { type Shared, StepRecord } from './step-record.ts'

export class FullStep extends StepRecord {
  readonly #shared: SharedOptions
  #basis: Float32Array = new Float32Array(0)

  constructor(shared: SharedOptions, ...common: ConstructorParameters<typeof StepRecord>) {
    super(...common)
    this.#shared = shared
  }

  protected side(round: number): Side {
    return round % 2 === 0 && this.rounds > 1 ? 'left' : 'right'
  }

  protected origin(round: number) {
    const { host, layout, before, step, rounds } = this
    if (round === 0 && rounds > 1) {
      return { lost: [], by: basis(host, layout, 'right', before.right, step) }
    }
    return round === rounds - 1 ? { lost: [], by: this.#basis } : null
  }

  contributions(own: readonly Opened[]): Contribution[] {
    const last = own[this.rounds - 1]
    return last && this.counts(last) ? [this.#contribution(last)] : []
  }

  #contribution(frame: Opened): Contribution {
    return { left: this.#basis, right: frame.floats, raw: this.rawOf(frame) }
  }

  protected afterMean() {
    const { host, layout, means, rounds, step } = this
    if (means.length === rounds) return (frame: Opened) => this.#contribution(frame)
    if (means.length % 2 === 1)
      this.#basis = basis(host, layout, 'left', means.at(-1)!.floats, step)
    return null
  }

  follows(after: Shared): void {
    const { aborted, before, means, layout } = this
    const { warmStart = true, refresh = 0 } = this.#shared
    const nothing = aborted || means.at(-1)!.weight === 0
    assert.is(after.parent === before.parent, nothing, 'the parent changes with every mean')
    const drawn = warmStart === false || drawnAfter(this.step, refresh)
    if (nothing || layout.rightFloats === 0 || (warmStart === 'fixed' && !drawn)) {
      sameFloats(after.right, before.right, 'factors that stay')
    } else if (!drawn) {
      const mean = means.at(-1)!.floats.subarray(0, layout.rightFloats)
      sameFloats(after.right, mean, 'factors that are the last mean')
    }
  }
}
