// A fleet in its rounds, with a hostile peer and a hostile server. Whatever is refused leaves no
// trace: a twin, which never sees it, has the same bits. Whatever is accepted leaves the honest
// workers finite and present.
import * as assert from 'uvu/assert'
import type { Compressor } from '../../src/index.ts'
import { sameBytes, sameFloats } from '../support/close.ts'
import { open } from '../support/frames.ts'
import { lengthOf } from '../support/numbers.ts'
import { aggregated, inspected } from './codec-target.ts'
import type { Dice } from './dice.ts'
import { type FleetOptions, gradientsFor, shapeOf, someFleet, someWire } from './fleets.ts'
import { FLOATS, mutatedFrame } from './frame-mutations.ts'
import {
  assertFinite,
  assertFiniteCheckpoint,
  attempt,
  attemptLater,
  OF_FRAMES,
  OF_PAYLOADS,
  OF_SLICES,
} from './oracle.ts'
import type { Doors, Target } from './target.ts'

/** Where memory follows the mean, one that is out of bounds is dropped, and may cost a step. */
const FOLLOWS = ['dion', 'pytorch', 'aggregated']

const HONEST = 1
const OTHER = 5
const HOSTILE = 9

export async function openRounds(dice: Dice, doors: Doors): Promise<Target> {
  const fleet = someFleet(dice)
  const wires = [someWire(dice), someWire(dice), someWire(dice)] as const
  const create = (sender: number, wire: (typeof wires)[number]) =>
    doors.createCompressor(fleet.shapes, { ...fleet.options, sender, wire })
  const [worker, twin, other, hostile] = await Promise.all([
    create(HONEST, wires[0]),
    create(HONEST, wires[0]),
    create(OTHER, wires[1]),
    create(HOSTILE, wires[2]),
  ])
  return new Rounds(fleet, { worker, twin, other, hostile }, wires.join(), dice, doors)
}

/** The frames of the open round. */
interface Round {
  readonly worker: Uint8Array
  readonly other: Uint8Array
  readonly hostile: Uint8Array
}

type Role = 'worker' | 'twin' | 'other' | 'hostile'

class Rounds implements Target {
  readonly what: string
  readonly #fleet: FleetOptions
  readonly #all: Readonly<Record<Role, Compressor>>
  readonly #dice: Dice
  readonly #doors: Doors
  readonly #parameters: Float32Array[]
  #round: Round | null = null
  /** frames and means of earlier rounds */
  #former: Uint8Array[] = []
  #refusals = 0
  /** those that are absent from the open step */
  readonly #absent = new Set<Role>()
  /** how often workers have dropped their residual */
  readonly #dropped = new Map<Role, number>()

  constructor(
    fleet: FleetOptions,
    all: Readonly<Record<Role, Compressor>>,
    wires: string,
    dice: Dice,
    doors: Doors,
  ) {
    this.what = `rounds of ${fleet.name}, ${wires}, ${JSON.stringify(fleet.shapes)}`
    this.#fleet = fleet
    this.#all = all
    this.#dice = dice
    this.#doors = doors
    this.#parameters = fleet.shapes.map((spec) => new Float32Array(lengthOf(shapeOf(spec))))
  }

  async next(): Promise<boolean> {
    const dice = this.#dice
    if (this.#round === null && (await this.#begin())) return false
    const round = this.#round!
    const how = dice.below(10)
    const mean = how < 5 ? this.#fromPeer(round) : how < 9 ? this.#fromServer(round) : null
    const mutant = how < 9 ? mean : this.#fromEngine(round)
    if (mutant === null) {
      // After some refusals the round goes on as if nothing had happened.
      if (++this.#refusals < 5 && dice.hits(0.8)) return false
      const honest = [round.other, round.worker]
      await this.#advance(
        this.#doors.aggregate(dice.hits(0.7) ? [...honest, round.hostile] : honest),
      )
      return false
    }
    await this.#advance(mutant)
    return true
  }

  close(): void {
    for (const one of Object.values(this.#all)) one.dispose()
  }

  /**
   * Begins a step; now and then by `step`, whose exchange brings a frame that must be refused.
   *
   * @returns whether that was an input
   */
  async #begin(): Promise<boolean> {
    const { worker, twin, other, hostile } = this.#all
    const dice = this.#dice
    const own = gradientsFor(this.#fleet, dice)
    const weight = dice.pick([1, 1, 2.5, 2 ** -149, 3e38])
    const spoilt = dice.hits(0.1)
    const twins = twin.compressSync(own, { weight })
    let frame: Uint8Array = twins
    if (!spoilt) frame = worker.compressSync(own, { weight })
    else {
      const exchange = (sent: Uint8Array) => {
        frame = sent
        const bad = sent.slice()
        bad[dice.below(sent.length)]! ^= 1 << dice.below(8)
        return bad
      }
      const call = () => worker.step(own, exchange, { weight, into: null })
      const { ok } = await attemptLater('step', OF_FRAMES, call)
      assert.not(ok, 'step goes on with a frame whose checksum is wrong')
    }
    this.#opened(frame, twins, {
      other: other.compressSync(gradientsFor(this.#fleet, dice)),
      hostile: hostile.compressSync(gradientsFor(this.#fleet, dice)),
    })
    return spoilt
  }

  /** Notes the frames of a new round: honest workers are present in it. */
  #opened(
    worker: Uint8Array,
    twin: Uint8Array,
    others: { readonly other: Uint8Array; readonly hostile: Uint8Array },
  ): void {
    sameBytes(worker, twin, 'a frame of the worker, by its twin')
    for (const [role, frame] of [
      ['worker', worker],
      ['other', others.other],
    ] as const) {
      if (open(frame).weight > 0 || this.#fleet.name === 'paper') continue
      assert.ok(FOLLOWS.includes(this.#fleet.name), 'an honest worker is absent')
      this.#absent.add(role)
    }
    this.#round = { worker, ...others }
    this.#refusals = 0
    this.#former = [worker, others.hostile, ...this.#former.slice(0, 4)]
  }

  /** The mean with a mutant of the peer's frame, or of its slices; null: it is refused. */
  #fromPeer({ worker, other, hostile }: Round): Uint8Array | null {
    const [dice, doors] = [this.#dice, this.#doors]
    const others = [worker, other, ...this.#former]
    let mutant: Uint8Array | null = null
    if (dice.hits(0.15)) {
      const maxBytes = 64 + dice.below(2 * hostile.length)
      const slices = attempt('splitFrame', OF_SLICES, () => doors.splitFrame(hostile, maxBytes))
      if (!slices.ok) return null
      const at = dice.below(slices.value.length)
      const spoilt = slices.value.map((one, i) =>
        i === at ? mutatedFrame(one, dice, slices.value) : one,
      )
      const joined = attempt('joinSlices', OF_SLICES, () => doors.joinSlices(spoilt))
      if (!joined.ok) return null
      mutant = joined.value
    }
    mutant ??= mutatedFrame(hostile, dice, others)
    inspected(mutant, doors)
    const mean = aggregated(mutant, [worker, other], dice, doors)
    return mean && this.#impersonates(mean) ? null : mean
  }

  /** Whether a mean has a frame of a worker that is absent: that one refuses it, as it should. */
  #impersonates(mean: Uint8Array): boolean {
    const { worker, other, hostile } = this.#round!
    const seen = attempt('inspect', OF_FRAMES, () => this.#doors.inspect(mean))
    if (!seen.ok) return false
    const workers = [
      [HONEST, worker],
      [OTHER, other],
      [HOSTILE, hostile],
    ] as const
    return workers.some(([sender, frame]) => {
      return open(frame).weight === 0 && seen.value.senders.includes(sender)
    })
  }

  /** A mutant of the mean that the worker receives; null: it refuses it. */
  #fromServer({ worker, other, hostile }: Round): Uint8Array | null {
    const [dice, doors] = [this.#dice, this.#doors]
    const good = doors.aggregate([worker, other, hostile])
    const mutant = mutatedFrame(dice.hits(0.9) ? good : hostile, dice, [other, ...this.#former])
    return this.#impersonates(mutant) || this.#refuses(mutant) ? null : mutant
  }

  /** A mean from sums of an engine, some of which are wrong; null: refused, or none to be had. */
  #fromEngine({ worker, other, hostile }: Round): Uint8Array | null {
    const [dice, doors] = [this.#dice, this.#doors]
    const sums: Float32Array[] = []
    for (const frame of [worker, other, hostile]) {
      const one = attempt('payload', OF_PAYLOADS, () => doors.payload(frame))
      if (!one.ok) return null
      sums.push(one.value)
    }
    const [sum, ...rest] = sums as [Float32Array, ...Float32Array[]]
    for (const one of rest) for (let i = 0; i < sum.length; i++) sum[i]! += one[i]!
    for (let n = dice.below(3); n > 0; n--) {
      const at = dice.hits(0.8) ? dice.below(sum.length) : sum.length - 2
      sum[at] = dice.pick(FLOATS)
    }
    const mean = attempt('fromPayload', OF_PAYLOADS, () => doors.fromPayload(sum, worker, 3))
    return mean.ok ? mean.value : null
  }

  /** Whether the worker refuses a mean. It must be refused by a copy of its own, or by nobody. */
  #refuses(mutant: Uint8Array): boolean {
    const { worker } = this.#all
    const { round, bytesReceived } = worker.stats
    const taken = attempt('receive', OF_FRAMES, () => worker.receiveSync(mutant))
    if (taken.ok) {
      this.#received = { next: taken.value }
      return false
    }
    assert.is(worker.stats.round, round, 'the round after a mean that is refused')
    assert.is(worker.stats.bytesReceived, bytesReceived, 'bytes of a mean that is refused')
    return true
  }

  /** the worker's next frame, if it has received the mean already */
  #received: { readonly next: Uint8Array | null } | null = null

  /** Gives a mean to all, and ends the step if it was the last. */
  async #advance(mean: Uint8Array): Promise<void> {
    const { worker, twin, other, hostile } = this.#all
    const take = (one: Compressor) => {
      const taken = attempt('receive', OF_FRAMES, () => one.receiveSync(mean))
      if (taken.ok) return taken.value
      throw new Error(`receive refuses a mean of another door: ${taken.error.message}`)
    }
    const { next } = this.#received ?? { next: take(worker) }
    this.#received = null
    const twins = take(twin)
    const [others, hostiles] = [take(other), take(hostile)]
    this.#former = [mean, ...this.#former.slice(0, 5)]
    if (next !== null) {
      this.#opened(next, twins!, { other: others!, hostile: hostiles! })
      return
    }
    this.#round = null
    await this.#end()
  }

  async #end(): Promise<void> {
    const { worker, twin, other, hostile } = this.#all
    const into = () => this.#parameters.map(({ length }) => new Float32Array(length))
    const updates = [worker, twin, other].map((one) => {
      const update = into()
      one.decompressSync(update)
      return update
    }) as [Float32Array[], Float32Array[], Float32Array[]]
    hostile.decompressSync(null)
    for (const [i, update] of updates[0].entries()) {
      assertFinite(update, `update of parameter ${i}`)
      sameFloats(updates[1][i]!, update, `update of parameter ${i}, by the twin`)
      sameFloats(updates[2][i]!, update, `update of parameter ${i}, at another worker`)
      const parameter = this.#parameters[i]!
      for (let j = 0; j < parameter.length; j++) parameter[j]! -= 0.1 * update[j]!
      assertFinite(parameter, `parameter ${i}`)
    }
    for (const role of ['worker', 'other'] as const) {
      const { dropped } = this.#all[role].stats
      const before = this.#dropped.get(role) ?? 0
      if (this.#absent.has(role))
        assert.ok(dropped > before, 'a worker is absent, and drops nothing')
      this.#dropped.set(role, dropped)
    }
    this.#absent.clear()
    const states = await Promise.all([worker, twin, other].map((one) => one.save()))
    const [own, twins, others] = states as [Uint8Array, Uint8Array, Uint8Array]
    sameBytes(own, twins, 'state of the worker, by its twin')
    assertFiniteCheckpoint(own, 'state of the worker')
    assertFiniteCheckpoint(others, 'state of another worker')
  }
}
