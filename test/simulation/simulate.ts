// Runs a scenario on a fleet of compressors and checks every step.
import { openHost } from '../../src/backends/wasm/index.ts'
import { inspect } from '../../src/frames.ts'
import { open } from '../support/frames.ts'
import { applyEvent } from './events.ts'
import { FROZEN, layoutOf, ranksFor, usesHalfSteps } from './expected-layout.ts'
import { Fleet, type Mutation } from './fleet.ts'
import { FullStep } from './full-step.ts'
import { HalfSteps } from './half-steps.ts'
import { gradientFor, type Member } from './member.ts'
import { type Fate, PLAIN, type Scenario, type Script } from './scenario.ts'
import { badFrames, hostileFrame } from './spoilt-frames.ts'
import type { StepRecord } from './step-record.ts'
import { type Transported, transport } from './transports.ts'

/** @throws if a check fails */
export async function simulate(scenario: Scenario, mutation: Mutation = {}): Promise<void> {
  const host = await openHost(scenario.shared.seed ?? 0, mutation.random?.(0))
  const simulation = new Simulation(new Fleet(scenario, mutation, host))
  await simulation.run()
}

class Simulation {
  readonly #fleet: Fleet
  #former: Uint8Array | undefined

  constructor(fleet: Fleet) {
    this.#fleet = fleet
  }

  async run(): Promise<void> {
    const { workers, steps } = this.#fleet.scenario
    for (let i = 0; i < workers; i++) await this.#fleet.enlist()
    for (const script of steps) {
      if (script.event.kind !== 'none') {
        for (const member of this.#fleet.members) await this.#catchUp(member, script)
        await applyEvent(this.#fleet, script.event)
      }
      for (const [i, member] of this.#fleet.members.entries()) {
        if (fateOf(script, i).returns) await this.#catchUp(member, script)
      }
      await this.#step(script)
    }
    for (const member of this.#fleet.members) await this.#catchUp(member, PLAIN)
    await this.#fleet.agreed()
    for (const { compressor } of this.#fleet.members) compressor.dispose()
  }

  async #step(script: Script): Promise<void> {
    const { shared } = this.#fleet.scenario
    const before = await this.#fleet.agreed()
    const step = this.#fleet.step
    const compressing = step >= (shared.startCompressingAfter ?? 0)
    const ranks = ranksFor(this.#fleet.table, this.#fleet.wanted, shared).map((r) =>
      compressing || r === FROZEN ? r : 0,
    )
    const layout = layoutOf(this.#fleet.table, ranks)
    const { iterations = 1, method } = shared
    const rounds = layout.leftFloats === 0 ? 1 : iterations * (usesHalfSteps(method) ? 1 : 2)
    const common = [this.#fleet.host, step, layout, rounds, before, !compressing] as const
    const Record = usesHalfSteps(method) ? HalfSteps : FullStep
    const record: StepRecord = new Record(shared, ...common)

    const frames = new Map<Member, Uint8Array>()
    for (const [i, member] of this.#fleet.members.entries()) {
      if (member.turn || member.at < step) continue
      frames.set(member, await this.#compress(member, record, fateOf(script, i)))
    }
    this.#fleet.history.push(record)
    const aborted = await this.#rounds(script, record, frames)
    for (const member of frames.keys()) {
      if (record.aborted) await member.abort()
      else await member.finish()
    }
    if (this.#fleet.mutation.abortsLate) return
    // A worker that aborted alone has another history now, unless all aborted or nobody counted.
    const peer = this.#fleet.members[0]!
    for (const member of aborted) {
      if (!record.aborted) member.compressor.join(await peer.compressor.save({ residual: false }))
      await member.audit()
    }
    record.follows(await this.#fleet.agreed())
  }

  /** @returns the worker that aborted alone; the others stay in `frames` */
  async #rounds(
    script: Script,
    record: StepRecord,
    frames: Map<Member, Uint8Array>,
  ): Promise<Member[]> {
    const aborted: Member[] = []
    const { abort } = script
    // A worker that aborts alone must not have counted; with half-steps, in no round.
    const alone =
      abort && abort.who !== 'all' && abort.who > 0 ? this.#fleet.members[abort.who] : undefined
    const aborter = alone && frames.has(alone) ? alone : undefined
    const each = usesHalfSteps(this.#fleet.scenario.shared.method)
    for (let round = 0; round < record.rounds; round++) {
      const here = abort !== null && round === abort.round % record.rounds
      const last = round === record.rounds - 1
      const sent = [...frames].filter(([member]) => {
        const lost = fateOf(script, this.#fleet.members.indexOf(member)).lost & (1 << round)
        const decides = each || (here && last)
        const tooLate = decides && member === aborter && !this.#fleet.mutation.abortsLate
        return !lost && !tooLate
      })
      if ((here && abort.who === 'all') || sent.length === 0) {
        record.aborted = true
        break
      }
      const bytes = sent.map(([, frame]) => frame)
      const peer = this.#hostile(bytes, script)
      if (peer) bytes.push(peer)
      const { mean, roundings } = this.#transport(bytes, script)
      const opened = bytes.map(open)
      this.#former = bytes[0]
      record.weigh(mean, opened, roundings, this.#fleet.mutation.anonymous ?? false)
      for (const member of [...frames.keys()]) {
        const fate = fateOf(script, this.#fleet.members.indexOf(member))
        if (here && member === aborter) {
          frames.delete(member)
          aborted.push(member)
          await member.abort()
        } else if (fate.late === round && member !== this.#fleet.members[0]) {
          frames.delete(member)
        } else {
          const next = await member.receive(script.spoilt, this.#fleet.chance)
          if (next) frames.set(member, next)
        }
      }
    }
    return aborted
  }

  #transport(frames: readonly Uint8Array[], { spoilt, transport: how }: Script): Transported {
    const { corrupt, aggregate } = this.#fleet.mutation
    const arrived = corrupt ? frames.map(corrupt) : frames
    if (aggregate)
      return { mean: aggregate(arrived), roundings: this.#fleet.mutation.roundings ?? 1 }
    // A stream notices a sender's second frame only after the first one.
    const kind = spoilt === 'twice' && how === 'stream' ? 'bit' : spoilt
    const bad = badFrames(arrived, this.#former, kind, this.#fleet.chance)
    return transport(arrived, bad, how, this.#fleet.chance)
  }

  /** The frame of a peer that is no member, if the script has one. */
  #hostile(frames: readonly Uint8Array[], { hostile }: Script): Uint8Array | null {
    const { aggregate } = this.#fleet.mutation
    const own = frames.find((frame) => inspect(frame).weight > 0)
    if (hostile === null || aggregate || !own) return null
    return hostileFrame(own, hostile, this.#fleet.weight(), this.#fleet.chance)
  }

  #compress(member: Member, record: StepRecord, fate: Fate): Promise<Uint8Array> {
    const seed = this.#fleet.scenario.seed + 7919 * record.step + member.sender
    const gradients = gradientFor(fate, this.#fleet.table, seed | 0)
    const weight = fate.gradient === 'weightless' ? 0 : this.#fleet.weight()
    return member.compress(record, fate, gradients, weight)
  }

  /** Gives a late worker the means that were kept for it, step after step. */
  async #catchUp(member: Member, script: Script): Promise<void> {
    if (!member.turn && member.at === this.#fleet.step) return
    const fate = fateOf(script, this.#fleet.members.indexOf(member))
    for (;;) {
      const record = member.turn?.record ?? this.#fleet.history[member.at]!
      if (!member.turn) await this.#compress(member, record, fate)
      if (record.aborted) await member.abort()
      else {
        while (member.turn!.received < record.rounds) {
          await member.receive(script.spoilt, this.#fleet.chance)
        }
        await member.finish()
      }
      if (member.at === this.#fleet.step) break
    }
    await this.#fleet.agreed()
  }
}

function fateOf({ fates }: Script, place: number): Fate {
  return fates[place % fates.length]!
}
