// A fleet: its members, its options, and the check that all members agree.
import * as assert from 'uvu/assert'
import type { Host, Random } from '../../src/backend.ts'
import type { Wire } from '../../src/frames.ts'
import { type Compressor, createCompressor, type Options, type Rank } from '../../src/index.ts'
import { sameFloats } from '../support/close.ts'
import { numbers } from '../support/numbers.ts'
import { readState, type Saved } from '../support/safetensors.ts'
import { type Row, ranksFor, tableOf } from './expected-layout.ts'
import { Member } from './member.ts'
import type { Scenario } from './scenario.ts'
import type { Shared, StepRecord } from './step-record.ts'
import type { Chance } from './transports.ts'

/** The places where a mutant can have its defect. */
export interface Mutation {
  options?(sender: number): Partial<Options>
  random?(sender: number): Random
  /** a frame as it arrives */
  corrupt?(frame: Uint8Array): Uint8Array
  aggregate?(frames: readonly Uint8Array[]): Uint8Array
  /** how often `aggregate` rounds to float32; default 1 */
  roundings?: number
  /** the fleet's means name no senders */
  anonymous?: boolean
  /** a worker aborts although its last frame has counted, and stays */
  abortsLate?: boolean
}

export class Fleet {
  readonly scenario: Scenario
  readonly mutation: Mutation
  readonly host: Host
  readonly table: Row[]
  readonly chance: Chance
  readonly history: StepRecord[] = []
  /** the first member is always there: it neither leaves, nor lags, nor aborts alone */
  members: Member[] = []
  /** the rank, or ranks, last asked for */
  wanted: Rank | readonly Rank[]
  #senders = 0

  constructor(scenario: Scenario, mutation: Mutation, host: Host) {
    this.scenario = scenario
    this.mutation = mutation
    this.host = host
    this.table = tableOf(scenario.shapes)
    this.wanted = scenario.shared.rank ?? 4
    const next = numbers(scenario.seed)
    this.chance = () => (next() + 1) / 2
  }

  /** The step that comes next, or is open. */
  get step(): number {
    return this.history.length
  }

  create(sender: number, wire: Wire, restore?: Uint8Array): Promise<Compressor> {
    const { shapes, shared } = this.scenario
    const random = this.mutation.random?.(sender)
    return createCompressor(shapes, {
      ...shared,
      sender,
      wire,
      ...(restore ? { restore } : {}),
      ...(random ? { random } : {}),
      ...this.mutation.options?.(sender),
    })
  }

  async enlist(restore?: Uint8Array): Promise<Member> {
    const { wires } = this.scenario
    // Sender numbers are neither in order nor small.
    const sender = (this.#senders * 2654435761) >>> 0
    const wire = wires[this.#senders++ % wires.length]!
    const compressor = await this.create(sender, wire, restore)
    const member = new Member(this.table, sender, wire, compressor)
    this.members.push(member)
    return member
  }

  /** Rule 2: all members have the same factors, parent, ranks and step, to the bit. */
  async agreed(): Promise<Shared> {
    const states = await Promise.all(
      this.members
        .filter(({ turn, at }) => !turn && at === this.step)
        .map(async (m) => readState(await m.compressor.save())),
    )
    const [first] = states as [Saved]
    const ranks = ranksFor(this.table, this.wanted, this.scenario.shared)
    assert.is(first.metadata.ranks, JSON.stringify(ranks))
    for (const { metadata, tensors } of states) {
      for (const name of ['step', 'parent', 'ranks', 'options', 'notes']) {
        assert.is(metadata[name], first.metadata[name], `${name} of all workers`)
      }
      for (const [name, { data }] of first.tensors) {
        if (name.startsWith('residual/')) continue
        sameFloats(tensors.get(name)!.data, data, `${name} of all workers`)
      }
    }
    const factors = (side: 'p' | 'q') =>
      Float32Array.from(
        ranks.flatMap((_, i) => [...(first.tensors.get(`${side}/${i}`)?.data ?? [])]),
      )
    const { next } = JSON.parse(first.metadata.notes ?? '{}')
    const parent = first.metadata.parent!
    return { left: factors('p'), right: factors('q'), parent, next: String(next) }
  }

  weight(): number {
    switch (this.scenario.weighing) {
      case 'equal':
        return 1
      case 'random':
        return 0.1 + 10 * this.chance()
      case 'extreme':
        return [2 ** -149, 1e-30, 1, 1e30, 3e38][Math.floor(5 * this.chance())]!
    }
  }
}

export function dataOf({ tensors }: Saved, name: string): Float32Array {
  return tensors.get(name)!.data
}
