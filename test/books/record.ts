// One step as everyone must see it: its frames, its means, and the update, worked out a second time
// in float64 from the bytes that went over the wire.
import * as assert from 'uvu/assert'
import type { Wire } from '../../src/frames.ts'
import type { Host } from '../../src/seam.ts'
import { type Opened, open, SMALLEST, sameFloats, UNIT, within } from '../support/fleet.ts'
import type { Contribution } from './ledger.ts'
import { basis, factor, type Layout, product, rounded } from './table.ts'

export interface Frozen {
  /** the right factors, before they are made orthonormal */
  readonly factors: Float32Array
  readonly parent: string
}

export class StepRecord {
  readonly step: number
  readonly layout: Layout
  readonly rounds: number
  /** what the step begins with */
  readonly before: Frozen
  readonly means: Opened[] = []
  aborted = false
  readonly #host: Host
  /** frames are float32 whatever the wires */
  readonly #exact: boolean
  readonly #parents: string[] = []
  readonly #query: Float32Array
  #basis: Float32Array = new Float32Array(0)
  #update: Float32Array[] | null = null
  #norm: number | null = null
  #expected: { values: Float64Array; sizes: Float64Array }[] = []
  #roundings = 0

  constructor(
    host: Host,
    step: number,
    layout: Layout,
    rounds: number,
    before: Frozen,
    exact: boolean,
  ) {
    this.#host = host
    this.step = step
    this.layout = layout
    this.rounds = rounds
    this.before = before
    this.#exact = exact
    this.#query = basis(host, layout, 'right', before.factors, step)
  }

  get done(): boolean {
    return this.means.length === this.rounds
  }

  /** Checks the header of a worker's frame. */
  admit(frame: Opened, round: number, wire: Wire): void {
    const { layout } = this
    assert.is(frame.step, this.step)
    assert.is(frame.round, round)
    assert.is(frame.type, this.#exact ? 'f32' : wire)
    assert.equal([...frame.ranks], layout.ranks)
    const parent = String(frame.parent)
    this.#parents[round] ??= parent
    assert.is(parent, this.#parents[round], 'parent of a frame')
    const last = round === this.rounds - 1
    const floats = last ? layout.lastFloats : round % 2 ? layout.rightFloats : layout.leftFloats
    assert.is(frame.total, floats)
    if (frame.weight === 0) assert.ok(frame.floats.every((value) => value === 0))
  }

  /**
   * Checks what a float32 frame says against the worker's own M: P = M·Q̂ in the first round, Q = Mᵀ·P̂
   * and raw tensors in the last.
   */
  derives(frame: Opened, round: number, m: readonly Float32Array[]): void {
    if (frame.type !== 'f32') return
    const { table, ranks, left, right, raw } = this.layout
    const last = round === this.rounds - 1
    if (round > 0 && !last) return
    for (const [i, rank] of ranks.entries()) {
      const { rows, cols, length } = table[i]!
      if (rank === 0) {
        if (!last) continue
        const sent = frame.floats.subarray(raw[i]!, raw[i]! + length)
        within(sent, m[i]!, () => 0, 'a raw tensor')
        continue
      }
      const side = last ? 'right' : 'left'
      const { values, sizes } = factor(
        this.layout,
        i,
        side,
        m[i]!,
        last ? this.#basis : this.#query,
      )
      const from = last ? right[i]! : left[i]!
      const sent = frame.floats.subarray(from, from + values.length)
      const terms = last ? rows : cols
      within(sent, values, (j) => rounded(terms + 1, sizes[j]!), `${side} factor of parameter ${i}`)
    }
  }

  /** Checks a mean against the frames that it was made of, and works out what follows from it. */
  weigh(bytes: Uint8Array, frames: readonly Opened[], roundings: number, anonymous: boolean): void {
    const mean = open(bytes)
    const counted = frames.filter(({ weight }) => weight > 0)
    counted.sort((a, b) => a.senders[0]! - b.senders[0]!)
    const weight = counted.reduce((sum, frame) => sum + frame.weight, 0)
    const senders = anonymous ? [] : counted.map((frame) => frame.senders[0]!)
    assert.equal([...mean.senders], senders, 'senders of a mean')
    // A tree adds the weights in another order, an engine that sums by itself in float32.
    const off = Math.abs(mean.weight - weight)
    const unit = anonymous ? UNIT : 2 ** -52
    assert.ok(off <= counted.length * unit * weight, `weight: ${mean.weight} for ${weight}`)
    const { values, sizes } = averaged(
      counted,
      weight,
      ({ floats }) => ({
        values: floats,
        sizes: floats.map(Math.abs),
      }),
      mean.count,
    )
    within(mean.floats, values, (i) => rounded(roundings, sizes[i]!), 'mean')
    this.means.push(mean)
    this.#roundings = roundings
    if (!this.done) {
      if (this.means.length % 2 === 1) {
        this.#basis = basis(this.#host, this.layout, 'left', mean.floats, this.step)
      }
      return
    }
    // Rule 1 (b): what the update must be is a mean of contributions.
    this.#expected = this.layout.ranks.map((rank, i) => {
      const from = this.layout.raw[i]!
      const to = from + this.layout.table[i]!.length
      return averaged(
        counted,
        weight,
        ({ floats }) => {
          if (rank > 0) return product(this.layout, i, this.#basis, floats)
          const sent = floats.subarray(from, to)
          return { values: sent, sizes: sent.map(Math.abs) }
        },
        this.layout.table[i]!.length,
      )
    })
  }

  /** Whether a worker whose last frame this was is in the last mean. An anonymous one has everyone. */
  counts({ weight, senders }: Opened): boolean {
    const mean = this.means.at(-1)!
    if (weight === 0 || mean.weight === 0) return false
    return mean.senders.length === 0 || mean.senders.includes(senders[0]!)
  }

  contribution({ floats }: Opened): Contribution {
    return { layout: this.layout, basis: this.#basis, own: floats }
  }

  /** Checks a worker's update, which all the others must have to the bit. */
  agree(update: Float32Array[] | null, norm: number): void {
    this.#norm ??= norm
    assert.is(norm, this.#norm, 'updateNorm')
    if (!update) return
    if (this.#update) {
      for (const [i, want] of this.#update.entries()) {
        sameFloats(update[i]!, want, `update of step ${this.step}, parameter ${i}`)
      }
      return
    }
    for (const [i, { values, sizes }] of this.#expected.entries()) {
      const n = (this.layout.ranks[i]! + 1) * (this.#roundings + 1)
      within(update[i]!, values, (j) => rounded(n, sizes[j]!), `update, parameter ${i}`)
    }
    const got = Math.hypot(...update.flatMap((array) => [...array]))
    // P̂ is orthonormal to 5e-7 an element, and P̂·Q̄ᵀ rounded: ‖|P̂|·|Q̄|ᵀ‖ ≤ √rank·‖Q̄‖.
    const rank = Math.max(1, ...this.layout.ranks)
    const relative = rank * 5e-7 + 1.01 * (rank + 2) * UNIT * Math.sqrt(rank)
    const count = update.reduce((sum, { length }) => sum + length, 0)
    const bound = relative * norm + rank * Math.sqrt(count) * SMALLEST
    assert.ok(Math.abs(got - norm) <= bound, `updateNorm: ${norm} for ‖update‖ = ${got}`)
    this.#update = update
  }
}

/** Σ weight·x ÷ Σ weight, and the same of the magnitudes; zero if nobody is in it. */
function averaged(
  frames: readonly Opened[],
  weight: number,
  of: (frame: Opened) => { values: ArrayLike<number>; sizes: ArrayLike<number> },
  length: number,
): { values: Float64Array; sizes: Float64Array } {
  const values = new Float64Array(length)
  const sizes = new Float64Array(length)
  for (const frame of frames) {
    const part = of(frame)
    const share = frame.weight / weight
    for (let i = 0; i < length; i++) {
      values[i]! += share * part.values[i]!
      sizes[i]! += share * part.sizes[i]!
    }
  }
  return { values, sizes }
}
