// Plays a scenario on a fleet of compressors, and checks at every step what must hold.
import * as assert from 'uvu/assert'
import { openHost } from '../../src/backends/wasm/index.ts'
import type { Wire } from '../../src/frames.ts'
import { type Compressor, createCompressor, mergeStates, type Options } from '../../src/index.ts'
import type { Host, Random } from '../../src/seam.ts'
import {
  numbers,
  open,
  readState,
  type Saved,
  sameBytes,
  sameFloats,
  within,
} from '../support/fleet.ts'
import { type Carried, type Chance, carry } from './carry.ts'
import { Ledger } from './ledger.ts'
import { gradientFor, Member } from './member.ts'
import { type Frozen, StepRecord } from './record.ts'
import { type Event, type Fate, PLAIN, type Scenario, type Script } from './scenario.ts'
import { badFrames } from './spoil.ts'
import { layoutOf, type Row, ranksFor, rounded, tableOf } from './table.ts'

/** Where a defect can be planted. */
export interface Plant {
  options?(sender: number): Partial<Options>
  random?(sender: number): Random
  /** what a transport makes of a frame */
  transport?(frame: Uint8Array): Uint8Array
  aggregate?(frames: readonly Uint8Array[]): Uint8Array
  /** how often `aggregate` rounds to float32; default 1 */
  roundings?: number
  /** its means name no senders */
  anonymous?: boolean
  /** a worker aborts although its last frame has counted, and stays */
  abortsLate?: boolean
}

/** @throws if anything does not hold */
export async function play(scenario: Scenario, plant: Plant = {}): Promise<void> {
  const host = await openHost(scenario.shared.seed ?? 0, plant.random?.(0))
  const fleet = new Fleet(scenario, plant, host)
  await fleet.play()
}

class Fleet {
  readonly #scenario: Scenario
  readonly #plant: Plant
  readonly #host: Host
  readonly #table: Row[]
  readonly #chance: Chance
  readonly #history: StepRecord[] = []
  /** the first is always there: it neither leaves, nor lags, nor aborts alone */
  #members: Member[] = []
  #senders = 0
  #wanted: number | readonly number[]
  #former: Uint8Array | undefined

  constructor(scenario: Scenario, plant: Plant, host: Host) {
    this.#scenario = scenario
    this.#plant = plant
    this.#host = host
    this.#table = tableOf(scenario.shapes)
    this.#wanted = scenario.shared.rank ?? 4
    const next = numbers(scenario.seed)
    this.#chance = () => (next() + 1) / 2
  }

  async play(): Promise<void> {
    const { workers, steps } = this.#scenario
    for (let i = 0; i < workers; i++) await this.#enlist()
    for (const script of steps) {
      if (script.event.kind !== 'none') {
        for (const member of this.#members) await this.#catchUp(member, script)
        await this.#happen(script.event)
      }
      for (const [i, member] of this.#members.entries()) {
        if (fateOf(script, i).returns) await this.#catchUp(member, script)
      }
      await this.#step(script)
    }
    for (const member of this.#members) await this.#catchUp(member, PLAIN)
    await this.#agreed()
    for (const { compressor } of this.#members) compressor.dispose()
  }

  get #step0(): number {
    return this.#history.length
  }

  #create(sender: number, wire: Wire, restore?: Uint8Array): Promise<Compressor> {
    const { shapes, shared } = this.#scenario
    const random = this.#plant.random?.(sender)
    return createCompressor(shapes, {
      ...shared,
      sender,
      wire,
      ...(restore ? { restore } : {}),
      ...(random ? { random } : {}),
      ...this.#plant.options?.(sender),
    })
  }

  async #enlist(restore?: Uint8Array): Promise<Member> {
    const { wires } = this.#scenario
    // Numbers that are neither in order nor small.
    const sender = (this.#senders * 2654435761) >>> 0
    const wire = wires[this.#senders++ % wires.length]!
    const compressor = await this.#create(sender, wire, restore)
    const member = new Member(this.#table, sender, wire, compressor)
    this.#members.push(member)
    return member
  }

  // Between steps

  async #happen(event: Event): Promise<void> {
    const first = this.#members[0]!
    switch (event.kind) {
      case 'none':
        return
      case 'restore':
        for (const member of this.#members) await this.#restore(member)
        break
      case 'join': {
        if (this.#members.length === 8) return
        const state = await first.compressor.save({ residual: false })
        if (this.#chance() < 0.5) await this.#enlist(state)
        else {
          const member = await this.#enlist()
          member.compressor.join(state)
          member.at = this.#step0
        }
        break
      }
      case 'leave':
        await this.#leave()
        break
      case 'merge':
        await this.#merge(event.workers)
        break
      case 'rescale':
        for (const { compressor, ledger, wild } of this.#members) {
          if (wild) continue // it might leave the range of float32
          compressor.rescaleResidual(event.factor)
          ledger.rescale(event.factor)
        }
        break
      case 'setRank': {
        const { rank } = event
        const count = this.#table.length
        this.#wanted = typeof rank === 'number' ? rank : rank.slice(0, count)
        for (const { compressor } of this.#members) compressor.setRank(this.#wanted)
      }
    }
    for (const member of this.#members) await member.audit()
    await this.#agreed()
  }

  async #restore(member: Member): Promise<void> {
    const state = await member.compressor.save()
    member.replace(await this.#create(member.sender, member.wire, state))
    sameBytes(await member.compressor.save(), state, 'a state that was restored')
  }

  async #leave(): Promise<void> {
    if (this.#members.length === 1) return
    const at = 1 + Math.floor(this.#chance() * (this.#members.length - 1))
    const [leaver] = this.#members.splice(at, 1) as [Member]
    // What is adopted may leave the range of float32 where it is near the end, and at extreme
    // ratios of weights.
    if (this.#scenario.weighing !== 'extreme' && !leaver.wild) {
      const heir = this.#members[Math.floor(this.#chance() * this.#members.length)]!
      const state = await leaver.compressor.save()
      const weight = async (m: Member) =>
        Number(readState(await m.compressor.save()).metadata.weight)
      const factor = (await weight(leaver)) / (await weight(heir))
      await heir.compressor.adopt(state)
      heir.ledger.adopt(leaver.ledger.residual, factor)
    }
    leaver.compressor.dispose()
  }

  async #merge(workers: number): Promise<void> {
    const states = await Promise.all(this.#members.map(({ compressor }) => compressor.save()))
    const merged = mergeStates(states)
    const files = states.map(readState)
    const weights = files.map(({ metadata }) => Number(metadata.weight))
    const total = weights.reduce((a, b) => a + b, 0)
    const residual = this.#table.map(({ length }, i) => {
      const name = `residual/${i}`
      const mean = (of: (x: number) => number) =>
        Float64Array.from({ length }, (_, j) =>
          files.reduce(
            (sum, file, k) => sum + (weights[k]! / total) * of(dataOf(file, name)[j]!),
            0,
          ),
        )
      const got = dataOf(readState(merged), name)
      const sizes = mean(Math.abs)
      within(got, mean(Number), (j) => rounded(1, sizes[j]!), 'a merged residual')
      return got
    })
    const wild = this.#members.some((member) => member.wild)
    for (const { compressor } of this.#members) compressor.dispose()
    this.#members = []
    for (let i = 0; i < workers; i++) {
      const member = await this.#enlist(merged)
      member.ledger = new Ledger(this.#table, residual)
      member.wild = wild
    }
  }

  /** Rule 2: factors, parent, ranks and step are everyone's, to the bit. */
  async #agreed(): Promise<Frozen> {
    const states = await Promise.all(
      this.#members
        .filter(({ turn, at }) => !turn && at === this.#step0)
        .map(async (m) => readState(await m.compressor.save())),
    )
    const [first] = states as [Saved]
    const ranks = ranksFor(this.#table, this.#wanted, this.#scenario.shared)
    assert.is(first.metadata.ranks, JSON.stringify(ranks))
    for (const { metadata, tensors } of states) {
      for (const name of ['step', 'parent', 'ranks', 'options']) {
        assert.is(metadata[name], first.metadata[name], `${name} of all workers`)
      }
      for (const [name, { data }] of first.tensors) {
        if (name.startsWith('q/'))
          sameFloats(tensors.get(name)!.data, data, `${name} of all workers`)
      }
    }
    const factors = ranks.flatMap((rank, i) => (rank > 0 ? [...dataOf(first, `q/${i}`)] : []))
    return { factors: Float32Array.from(factors), parent: first.metadata.parent! }
  }

  // In a step

  async #step(script: Script): Promise<void> {
    const { shared } = this.#scenario
    const before = await this.#agreed()
    const step = this.#step0
    const compressing = step >= (shared.startCompressingAfter ?? 0)
    const ranks = ranksFor(this.#table, this.#wanted, shared).map((r) => (compressing ? r : 0))
    const layout = layoutOf(this.#table, ranks)
    const rounds = layout.leftFloats > 0 ? 2 * (shared.iterations ?? 1) : 1
    const record = new StepRecord(this.#host, step, layout, rounds, before, !compressing)

    const frames = new Map<Member, Uint8Array>()
    for (const [i, member] of this.#members.entries()) {
      if (member.turn || member.at < step) continue
      frames.set(member, await this.#compress(member, record, fateOf(script, i)))
    }
    this.#history.push(record)
    const aborted = await this.#rounds(script, record, frames)
    for (const member of frames.keys()) {
      if (record.aborted) await member.abort()
      else await member.finish()
    }
    if (this.#plant.abortsLate) return
    // A worker that gave up alone has another history now, unless all did or nobody counted.
    const peer = this.#members[0]!
    for (const member of aborted) {
      if (!record.aborted) member.compressor.join(await peer.compressor.save({ residual: false }))
      await member.audit()
    }
    this.#follows(record, await this.#agreed())
  }

  /** @returns who aborted alone; those who go on stay in `frames` */
  async #rounds(
    script: Script,
    record: StepRecord,
    frames: Map<Member, Uint8Array>,
  ): Promise<Member[]> {
    const aborted: Member[] = []
    const { abort } = script
    for (let round = 0; round < record.rounds; round++) {
      const here = abort !== null && round === abort.round % record.rounds
      const alone = here && abort.who !== 'all' ? this.#members[abort.who] : undefined
      const aborter = alone && alone !== this.#members[0] && frames.has(alone) ? alone : undefined
      const last = round === record.rounds - 1
      const sent = [...frames].filter(([member]) => {
        const lost = fateOf(script, this.#members.indexOf(member)).lost & (1 << round)
        const tooLate = last && member === aborter && !this.#plant.abortsLate
        return !lost && !tooLate
      })
      if ((here && abort.who === 'all') || sent.length === 0) {
        record.aborted = true
        break
      }
      const bytes = sent.map(([, frame]) => frame)
      const { mean, roundings } = this.#carry(bytes, script)
      const opened = bytes.map(open)
      this.#former = bytes[0]
      record.weigh(mean, opened, roundings, this.#plant.anonymous ?? false)
      for (const member of [...frames.keys()]) {
        const fate = fateOf(script, this.#members.indexOf(member))
        if (member === aborter) {
          frames.delete(member)
          aborted.push(member)
          await member.abort()
        } else if (fate.late === round && member !== this.#members[0]) {
          frames.delete(member)
        } else {
          const next = await member.receive(script.spoilt, this.#chance)
          if (next) frames.set(member, next)
        }
      }
    }
    return aborted
  }

  #carry(frames: readonly Uint8Array[], { spoilt, carrier }: Script): Carried {
    const { transport, aggregate } = this.#plant
    const arrived = transport ? frames.map(transport) : frames
    if (aggregate) return { mean: aggregate(arrived), roundings: this.#plant.roundings ?? 1 }
    // A stream knows who is in twice only once it has been there before.
    const how = spoilt === 'twice' && carrier === 'stream' ? 'bit' : spoilt
    const bad = badFrames(arrived, this.#former, how, this.#chance)
    return carry(arrived, bad, carrier, this.#chance)
  }

  #compress(member: Member, record: StepRecord, fate: Fate): Promise<Uint8Array> {
    const seed = this.#scenario.seed + 7919 * record.step + member.sender
    const gradients = gradientFor(fate, this.#table, seed | 0)
    const weight = fate.gradient === 'weightless' ? 0 : this.#weight()
    return member.compress(record, fate, gradients, weight)
  }

  #weight(): number {
    switch (this.#scenario.weighing) {
      case 'equal':
        return 1
      case 'random':
        return 0.1 + 10 * this.#chance()
      case 'extreme':
        return [2 ** -149, 1e-30, 1, 1e30, 3e38][Math.floor(5 * this.#chance())]!
    }
  }

  /** A worker that was late receives what has been kept for it, step after step. */
  async #catchUp(member: Member, script: Script): Promise<void> {
    if (!member.turn && member.at === this.#step0) return
    const fate = fateOf(script, this.#members.indexOf(member))
    for (;;) {
      const record = member.turn?.record ?? this.#history[member.at]!
      if (!member.turn) await this.#compress(member, record, fate)
      if (record.aborted) await member.abort()
      else {
        while (member.turn!.received < record.rounds) {
          await member.receive(script.spoilt, this.#chance)
        }
        await member.finish()
      }
      if (member.at === this.#step0) break
    }
    await this.#agreed()
  }

  /** What the step's last mean makes of factors and parent. */
  #follows({ aborted, before, means, layout }: StepRecord, after: Frozen): void {
    const { warmStart } = this.#scenario.shared
    const nothing = aborted || means.at(-1)!.weight === 0
    assert.is(after.parent === before.parent, nothing, 'the parent changes with every mean')
    if (nothing || warmStart === 'fixed' || layout.rightFloats === 0) {
      sameFloats(after.factors, before.factors, 'factors that stay')
    } else if (warmStart) {
      const mean = means.at(-1)!.floats.subarray(0, layout.rightFloats)
      sameFloats(after.factors, mean, 'factors that are the last mean')
    }
  }
}

function fateOf({ fates }: Script, place: number): Fate {
  return fates[place % fates.length]!
}

function dataOf({ tensors }: Saved, name: string): Float32Array {
  return tensors.get(name)!.data
}
