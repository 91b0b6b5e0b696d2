// One worker of a fleet: its ledger, its open step, and its expected stats.
import * as assert from 'uvu/assert'
import type { Wire } from '../../src/frames.ts'
import { type Absence, type Compressor, FrameError, type Stats } from '../../src/index.ts'
import { sameFloats } from '../support/close.ts'
import { type Opened, open } from '../support/frames.ts'
import { numbers } from '../support/numbers.ts'
import { FROZEN, type Row } from './expected-layout.ts'
import { Ledger } from './ledger.ts'
import type { Fate, Spoilt } from './scenario.ts'
import { resealed, tooLarge } from './spoilt-frames.ts'
import type { StepRecord } from './step-record.ts'
import { type Chance, flipped, truncated } from './transports.ts'

type Writable<T> = { -readonly [K in keyof T]: T[K] }

/** An open step of one worker. */
interface OpenStep {
  readonly record: StepRecord
  readonly gradients: Float32Array[] | null
  readonly fate: Fate
  /** whether its gradient is in M */
  readonly taken: boolean
  /** why not */
  readonly absence: Absence | null
  /** the worker's own frames, by round */
  readonly frames: Opened[]
  received: number
}

export class Member {
  readonly sender: number
  readonly wire: Wire
  compressor: Compressor
  ledger: Ledger
  turn: OpenStep | null = null
  /** the worker's next step */
  at: number
  #expected: Writable<Stats> & { absent: Record<Absence, number> }

  constructor(table: readonly Row[], sender: number, wire: Wire, compressor: Compressor) {
    this.sender = sender
    this.wire = wire
    this.compressor = compressor
    this.ledger = new Ledger(table)
    this.at = compressor.stats.step
    this.#expected = fresh(this.at)
  }

  /** Goes on with another compressor, restored from the state of the old one. */
  replace(compressor: Compressor): void {
    this.compressor.dispose()
    this.compressor = compressor
    this.#expected = fresh(this.at)
  }

  async compress(
    record: StepRecord,
    fate: Fate,
    gradients: Float32Array[] | null,
    weight: number,
  ): Promise<Uint8Array> {
    const before = gradients?.map((array) => array.slice())
    const given =
      fate.gradient === 'partial'
        ? gradients!.map((array) => (array.every((x) => x === 0) ? null : array))
        : gradients
    const bytes = await this.compressor.compress(given, { weight })
    for (const [i, array] of before?.entries() ?? []) {
      sameFloats(gradients![i]!, array, 'a gradient, which is only read')
    }
    const frame = open(bytes)
    const taken = frame.weight > 0
    // What is frozen is ignored, be it finite or not.
    const { ranks } = record.layout
    const bad = gradients?.some(
      (array, i) => ranks[i] !== FROZEN && array.some((x) => !(Math.abs(x) < 2 ** 100)),
    )
    const absence = gradients === null ? 'null' : weight === 0 ? 'weight' : bad ? 'gradient' : null
    assert.is(taken, absence === null, `gradient is taken: ${fate.gradient}`)
    this.turn = { record, gradients, fate, taken, absence, frames: [], received: 0 }
    this.#sent(bytes, frame, Math.fround(weight))
    if (gradients) this.ledger.take(gradients, taken, record.layout)
    return bytes
  }

  /** Receives the next mean of the open step, after bad means that must be refused. */
  async receive(spoilt: Spoilt, chance: Chance): Promise<Uint8Array | null> {
    const turn = this.turn!
    const round = turn.received
    const mean = turn.record.means[round]!.bytes
    const bad = badMean(mean, turn.record.means[round - 1]?.bytes, spoilt, chance)
    if (bad) {
      const before = this.compressor.stats
      await refusedLater(() => this.compressor.receive(bad))
      assert.equal(this.compressor.stats, before, 'stats after a bad mean')
    }
    assert.is(this.compressor.stats.round, round)
    const next = await this.compressor.receive(mean)
    this.#expected.bytesReceived += mean.length
    turn.received++
    const last = turn.received === turn.record.rounds
    assert.is(next === null, last, 'the last round ends the step')
    if (next) this.#sent(next, open(next))
    return next
  }

  #sent(bytes: Uint8Array, frame: Opened, weight = 0): void {
    const { record, gradients, taken, frames } = this.turn!
    record.admit(frame, frames.length, this.wire)
    // A worker that is absent in one round is absent for the rest of the step.
    const due = frames.length > 0 ? frames.at(-1)!.weight : taken ? weight : 0
    assert.is(frame.weight, due, 'weight of a frame')
    assert.equal([...frame.senders], frame.weight > 0 ? [this.sender] : [], 'sender of a frame')
    this.#expected.bytesSent += bytes.length
    if (frame.weight > 0) {
      const m = gradients!.map((g, i) => g.map((x, j) => x + this.ledger.residual[i]![j]!))
      record.derives(frame, frames, m)
    }
    frames.push(frame)
  }

  /** Ends the open step. */
  async finish(): Promise<void> {
    const turn = this.turn!
    const { record, gradients, fate } = turn
    const into = record.layout.table.map(({ length }) => new Float32Array(length).fill(Number.NaN))
    const { updateNorm } = this.compressor
    const outcome = await this.compressor.decompress(fate.writes ? into : null)
    const { senders, weight } = record.means.at(-1)!
    const counted = record.counts(turn.frames.at(-1)!)
    assert.equal(outcome, { counted, senders: [...senders], weight, refused: [] }, 'outcome')
    record.agree(fate.writes ? into : null, updateNorm!)
    if (gradients) this.ledger.give(record.layout, record.contributions(turn.frames), gradients)
    if (counted) this.#expected.counted++
    else if (!this.#absence()) this.#expected.missed++
    await this.#ended()
  }

  async abort(): Promise<void> {
    const { record, frames, gradients } = this.turn!
    this.compressor.abort()
    this.#expected.aborted++
    this.#absence()
    // The mean, not the worker, decides whether a frame counted.
    if (gradients && !record.aborted) {
      this.ledger.give(record.layout, record.contributions(frames), gradients)
    }
    await this.#ended()
  }

  async #ended(): Promise<void> {
    this.at++
    this.turn = null
    await this.audit()
  }

  /** Checks ledger and stats between steps. */
  async audit(): Promise<Uint8Array> {
    const state = await this.compressor.save()
    this.ledger.balance(state, `worker ${this.sender}`)
    const { ranks, ...rest } = this.compressor.stats
    const { ranks: _, ...expected } = this.#expected
    assert.equal(rest, { ...expected, step: this.at, round: null }, 'stats')
    return state
  }

  /** Counts the reason of the worker's absence, if it was absent. */
  #absence(): boolean {
    const { absence } = this.turn!
    if (absence !== null) this.#expected.absent[absence]++
    return absence !== null
  }
}

function fresh(step: number): Writable<Stats> & { absent: Record<Absence, number> } {
  return {
    step,
    round: null,
    ranks: [],
    counted: 0,
    missed: 0,
    absent: { null: 0, weight: 0, gradient: 0, factors: 0 },
    aborted: 0,
    dropped: 0,
    bytesSent: 0,
    bytesReceived: 0,
  }
}

function badMean(
  mean: Uint8Array,
  former: Uint8Array | undefined,
  how: Spoilt,
  chance: Chance,
): Uint8Array | null {
  switch (how) {
    case 'nothing':
      return null
    case 'bit':
      return flipped(mean, chance)
    case 'truncated':
      return truncated(mean, chance)
    case 'former':
      return former ?? flipped(mean, chance)
    case 'tooLarge':
      return tooLarge(mean, chance)
    case 'foreign':
      return resealed(mean, 'configHash')
    case 'twice':
      return resealed(mean, 'parent')
  }
}

async function refusedLater(call: () => Promise<unknown>): Promise<void> {
  try {
    await call()
  } catch (error) {
    assert.instance(error, FrameError)
    return
  }
  assert.unreachable('a bad mean was received')
}

/** The gradient of a fate: one array per parameter. */
export function gradientFor(
  fate: Fate,
  table: readonly Row[],
  seed: number,
): Float32Array[] | null {
  if (fate.gradient === 'none') return null
  const next = numbers(seed)
  const kind = fate.gradient
  const gradients = table.map(({ length, cols }, i) => {
    // Each parameter has its own unit, as layers have.
    const scale = 10 ** ((i % 4) - 2) * (kind === 'tiny' ? 1e-36 : 1)
    if (kind === 'zero') return new Float32Array(length)
    // Whole numbers, so that the rank is 1 to the bit.
    const column = Float32Array.from({ length: cols }, () => Math.round(4 * next()))
    if (kind === 'dependent') {
      return Float32Array.from({ length }, (_, j) => (1 + Math.floor(j / cols)) * column[j % cols]!)
    }
    return Float32Array.from({ length }, () => scale * next())
  })
  if (kind === 'partial') for (const array of gradients) if (next() < 0) array.fill(0)
  const somewhere = (value: number) => {
    const array = gradients[Math.floor((next() + 1) * 0.5 * gradients.length)]!
    array[Math.floor((next() + 1) * 0.5 * array.length)] = value
  }
  if (kind === 'huge') somewhere(1e17 * next())
  if (kind === 'overflowing') somewhere(3.4e38 * (next() < 0 ? -1 : 1))
  if (kind === 'notFinite') somewhere([Number.NaN, Infinity, -Infinity][Math.abs(seed) % 3]!)
  return gradients
}
