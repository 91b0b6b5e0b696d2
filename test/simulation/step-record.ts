// One step of the whole fleet: its frames, its means, and the update, computed a second time in
// float64 from the bytes that were sent. algorithms/textbook.ts cannot do this: it starts from
// exact float64 gradients, while these checks account for each frame's contribution after any wire
// type and any loss.
import * as assert from 'uvu/assert'
import type { Host, Side } from '../../src/backend.ts'
import type { Wire } from '../../src/frames.ts'
import { SMALLEST, sameFloats, UNIT, within } from '../support/close.ts'
import { type Opened, open } from '../support/frames.ts'
import {
  type Contribution,
  contributed,
  FROZEN,
  factor,
  type Layout,
  rounded,
  type Sum,
} from './expected-layout.ts'

/** The part of a state that is the same at all workers between two steps. */
export interface Shared {
  /** the factors before they are orthonormalized; full steps have only the right ones */
  readonly left: Float32Array
  readonly right: Float32Array
  readonly parent: string
  /** the side that the next half-step sends; of full steps: 'undefined' */
  readonly next: string
}

/** full-step.ts and half-steps.ts define a step's rounds. */
export abstract class StepRecord {
  readonly step: number
  readonly layout: Layout
  readonly rounds: number
  /** the shared state at the beginning of the step */
  readonly before: Shared
  readonly means: Opened[] = []
  aborted = false
  protected readonly host: Host
  /** frames are float32 whatever the wires */
  readonly #exact: boolean
  readonly #parents: string[] = []
  #update: Float32Array[] | null = null
  #norm: number | null = null
  readonly #expected: Sum[]
  /** how many products the update is the sum of */
  #products = 0
  #roundings = 0

  constructor(
    host: Host,
    step: number,
    layout: Layout,
    rounds: number,
    before: Shared,
    exact: boolean,
  ) {
    this.host = host
    this.step = step
    this.layout = layout
    this.rounds = rounds
    this.before = before
    this.#exact = exact
    this.#expected = layout.table.map(({ length }) => ({
      values: new Float64Array(length),
      sizes: new Float64Array(length),
    }))
  }

  /** The factor in a round's frames. */
  protected abstract side(round: number): Side

  /**
   * The contributions that left M before this round's frame, and the factor that M is multiplied
   * by.
   */
  protected abstract origin(
    round: number,
    own: readonly Opened[],
  ): { readonly lost: readonly Contribution[]; readonly by: Float32Array } | null

  /** The contributions of a worker that counted. @param own  its frames, by round */
  abstract contributions(own: readonly Opened[]): Contribution[]

  /** Called with each mean. @returns the contribution of a frame in it, if there is one already */
  protected abstract afterMean(): ((frame: Opened) => Contribution) | null

  /** Checks the factors, the parent and the next side after the step. */
  abstract follows(after: Shared): void

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
    const raw = round === this.rounds - 1 ? layout.rawFloats : 0
    assert.is(frame.total, this.factorFloats(round) + raw)
    if (frame.weight === 0) assert.ok(frame.floats.every((value) => value === 0))
  }

  protected factorFloats(round: number): number {
    return this.side(round) === 'left' ? this.layout.leftFloats : this.layout.rightFloats
  }

  /** The raw tensors in a frame of the last round. */
  protected rawOf({ floats }: Opened): Float32Array {
    return floats.subarray(this.factorFloats(this.rounds - 1))
  }

  /**
   * Checks a float32 frame against the worker's own M: P = M·Q̂ or Q = Mᵀ·P̂, and raw tensors in
   * the last round.
   *
   * @param own  the worker's earlier frames
   */
  derives(frame: Opened, own: readonly Opened[], m: readonly Float32Array[]): void {
    if (frame.type !== 'f32') return
    const round = own.length
    const { layout } = this
    const { table, ranks } = layout
    const side = this.side(round)
    const origin = this.origin(round, own)
    for (const [i, rank] of ranks.entries()) {
      if (rank === FROZEN) continue
      const { rows, cols, length } = table[i]!
      if (rank === 0) {
        if (round !== this.rounds - 1) continue
        const at = layout.raw[i]!
        const sent = this.rawOf(frame).subarray(at, at + length)
        within(sent, m[i]!, () => 0, 'a raw tensor')
        continue
      }
      if (!origin) continue
      const { by, lost } = origin
      const rest = Float64Array.from(m[i]!)
      const size = rest.map(Math.abs)
      for (const one of lost) {
        const { values, sizes } = contributed(layout, one, i)
        for (let j = 0; j < length; j++) {
          rest[j]! -= values[j]!
          size[j]! += sizes[j]!
        }
      }
      const { values } = factor(layout, i, side, rest, by)
      const { sizes } = factor(layout, i, side, size, by)
      const at = layout[side][i]!
      const sent = frame.floats.subarray(at, at + values.length)
      // The rest of a column after earlier half-steps counts as zero if it is 2⁻²⁰ of its length.
      const per = values.length / rank
      const columns = Array.from({ length: rank }, (_, k) =>
        Math.hypot(...factor(layout, i, side, m[i]!, by).values.slice(k * per, (k + 1) * per)),
      )
      const nothing = (j: number) =>
        lost.length > 0 ? 1.01 * 2 ** -20 * columns[Math.floor(j / per)]! : 0
      const n = (side === 'left' ? cols : rows) + (lost.length > 0 ? 2 : 1)
      const bound = (j: number) => rounded(n, sizes[j]!) + nothing(j)
      within(sent, values, bound, `${side} factor of parameter ${i}`)
    }
  }

  /** Checks a mean against its frames, and computes the results of the mean. */
  weigh(bytes: Uint8Array, frames: readonly Opened[], roundings: number, anonymous: boolean): void {
    const mean = open(bytes)
    const counted = frames.filter(({ weight }) => weight > 0)
    counted.sort((a, b) => a.senders[0]! - b.senders[0]!)
    const weight = counted.reduce((sum, frame) => sum + frame.weight, 0)
    const senders = anonymous ? [] : counted.map((frame) => frame.senders[0]!)
    assert.equal([...mean.senders], senders, 'senders of a mean')
    // A tree adds the weights in another order; a summing engine adds them in float32.
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
    // Rule 1 (b): the update must be a mean of contributions.
    const of = this.afterMean()
    if (!of) return
    this.#products++
    this.#roundings = Math.max(this.#roundings, roundings)
    for (const [i, expected] of this.#expected.entries()) {
      const part = averaged(
        counted,
        weight,
        (frame) => contributed(this.layout, of(frame), i),
        expected.values.length,
      )
      for (let j = 0; j < part.values.length; j++) {
        expected.values[j]! += part.values[j]!
        expected.sizes[j]! += part.sizes[j]!
      }
    }
  }

  /**
   * Whether a worker's frame is in the mean of its round. An anonymous mean has all workers'
   * frames.
   */
  counts({ round, weight, senders }: Opened): boolean {
    const mean = this.means[round]
    if (!mean || weight === 0 || mean.weight === 0) return false
    return mean.senders.length === 0 || mean.senders.includes(senders[0]!)
  }

  /** Checks a worker's update; all other workers must have the same bits. */
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
      const n = (this.layout.columns[i]! + 1) * (this.#roundings + 1) * this.#products
      within(update[i]!, values, (j) => rounded(n, sizes[j]!), `update, parameter ${i}`)
    }
    const got = Math.hypot(...update.flatMap((array) => [...array]))
    // P̂ is orthonormal to 5e-7 an element, and P̂·Q̄ᵀ rounded: ‖|P̂|·|Q̄|ᵀ‖ ≤ √rank·‖Q̄‖. The sum
    // of several products may be smaller than the products.
    const sizes = Math.hypot(...this.#expected.flatMap((one) => [...one.sizes]))
    const size = this.#products > 1 ? sizes : norm
    const rank = Math.max(1, ...this.layout.columns)
    const relative = rank * 5e-7 + 1.01 * (rank + 2) * UNIT * Math.sqrt(rank)
    const count = update.reduce((sum, { length }) => sum + length, 0)
    const bound = relative * size + rank * Math.sqrt(count) * SMALLEST
    assert.ok(Math.abs(got - norm) <= bound, `updateNorm: ${norm} for ‖update‖ = ${got}`)
    this.#update = update
  }
}

/** Σ weight·x ÷ Σ weight, and the same of the magnitudes; zero if no worker counts. */
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
