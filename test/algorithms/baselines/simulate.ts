// A random fleet with one baseline: frames get lost, means come late, workers abort, join and
// leave. The test checks the sent part and the residual of each worker in each step, and at the end
// every update.
import fc from 'fast-check'
import * as assert from 'uvu/assert'
import { createAggregate, inspect, joinSlices, splitFrame, type Wire } from '../../../src/frames.ts'
import { aggregate, type Compressor, createCompressor, type Options } from '../../../src/index.ts'
import { SMALLEST, sameFloats, UNIT, within } from '../../support/close.ts'
import { residualsOf } from '../../support/fleet.ts'
import { norm } from '../../support/norms.ts'
import { numbers } from '../../support/numbers.ts'
import type { Baseline, Taken } from './expected.ts'

export const SHAPES = [[6, 5], [7], [3, 4, 2], [1, 9], [40], [], [12, 3]]

const gradient = fc.constantFrom(
  ...(['normal', 'normal', 'ties', 'zero', 'tiny', 'none', 'weightless', 'notFinite'] as const),
)
type Gradient = 'normal' | 'ties' | 'zero' | 'tiny' | 'none' | 'weightless' | 'notFinite'

/** One worker in one step. The first worker is always awake, and never aborts alone. */
const fate = fc.record({
  gradient,
  lost: fc.boolean(),
  /** the worker receives the mean only once it is awake again, steps later */
  sleeps: fc.boolean(),
  /** its frame is lost, and the worker aborts the step and joins again */
  abortsAlone: fc.boolean(),
})
type Fate = typeof fate extends fc.Arbitrary<infer T> ? T : never

export const scenario = fc.record({
  seed: fc.integer(),
  workers: fc.integer({ min: 1, max: 4 }),
  wires: fc.array(fc.constantFrom<Wire>('f32', 'f32', 'f16', 'bf16', 'int8'), {
    minLength: 4,
    maxLength: 4,
  }),
  weights: fc.array(fc.constantFrom(1, 1, 0.25, 3, 0.1), { minLength: 4, maxLength: 4 }),
  startCompressingAfter: fc.constantFrom(0, 0, 0, 1),
  steps: fc.array(
    fc.record({
      fates: fc.array(fate, { minLength: 4, maxLength: 4 }),
      aborted: fc.nat(9).map((n) => n === 0),
      event: fc.constantFrom('none', 'none', 'join', 'leave'),
      transport: fc.constantFrom('flat', 'tree', 'stream', 'slices'),
    }),
    { minLength: 1, maxLength: 5 },
  ),
})
export type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never

interface Contribution {
  readonly weight: number
  readonly taken: readonly Taken[]
}

/** One step of the fleet, whose means are kept. */
interface Past {
  /** null: all workers aborted the step */
  readonly mean: Uint8Array | null
  readonly compressing: boolean
  readonly contributions: Map<number, Contribution>
  update: readonly Float32Array[] | null
}

class Member {
  readonly compressor: Compressor
  readonly sender: number
  readonly wire: Wire
  /** of its last gradient that was taken */
  weight = 1
  at: number
  e: Float32Array[] = SHAPES.map((shape) => new Float32Array(lengthOf(shape)))
  open: { gradients: Float32Array[] | null; taken: boolean; weight: number } | null = null

  constructor(compressor: Compressor, sender: number, wire: Wire) {
    this.compressor = compressor
    this.sender = sender
    this.wire = wire
    this.at = compressor.stats.step
  }
}

export async function simulate(
  baseline: Baseline,
  { seed, workers, wires, weights, startCompressingAfter, steps }: Scenario,
): Promise<void> {
  const chance = baseline.options.method!.supportedOptions.includes('seed')
    ? { seed: seed >>> 0 }
    : {}
  const options: Options = { ...baseline.options, ...chance, startCompressingAfter }
  const history: Past[] = []
  let senders = 0
  const create = async () => {
    const sender = senders++
    const wire = wires[sender % wires.length]!
    const compressor = await createCompressor(SHAPES, { ...options, sender: 3 * sender, wire })
    return new Member(compressor, 3 * sender, wire)
  }
  const members: Member[] = []
  for (let i = 0; i < workers; i++) members.push(await create())

  for (const { fates, aborted, event, transport } of steps) {
    const step = history.length
    if (event !== 'none') {
      for (const member of members) await catchUp(member)
      if (event === 'join') {
        const member = await create()
        member.compressor.join(await members[0]!.compressor.save({ residual: false }))
        member.at = step
        members.push(member)
      } else if (members.length > 1) await leave(members)
    }
    const frames = new Map<Member, Uint8Array>()
    for (const [i, member] of members.entries()) {
      const own = fateOf(fates, i)
      if (own.sleeps && (member.open || member.at < step)) continue
      await catchUp(member)
      frames.set(member, await begin(member, own.gradient))
    }
    const sent = [...frames].filter(([member]) => {
      const { lost, abortsAlone } = fateOf(fates, members.indexOf(member))
      return !lost && !abortsAlone
    })
    const given = aborted || sent.length === 0
    const mean = given
      ? null
      : meanBy(
          sent.map(([, frame]) => frame),
          transport,
        )
    const compressing = step >= startCompressingAfter
    history.push({ mean, compressing, contributions: new Map(), update: null })
    const rejoin: Member[] = []
    for (const member of frames.keys()) {
      const { sleeps, abortsAlone } = fateOf(fates, members.indexOf(member))
      if (abortsAlone && mean) {
        await abort(member)
        rejoin.push(member)
      } else if (!sleeps) await end(member)
    }
    const state = await members[0]!.compressor.save({ residual: false })
    for (const member of rejoin) member.compressor.join(state)
  }
  for (const member of members) await catchUp(member)
  for (const [step, past] of history.entries()) balance(baseline, past, `step ${step}`)
  for (const { compressor } of members) compressor.dispose()

  async function begin(member: Member, kind: Gradient): Promise<Uint8Array> {
    const gradients = gradientsFor(kind, (seed + 7919 * member.at + member.sender) | 0)
    const taken = !['none', 'weightless', 'notFinite'].includes(kind)
    const weight = Math.fround(kind === 'weightless' ? 0 : weights[member.at % weights.length]!)
    const frame = await member.compressor.compress(gradients, { weight })
    assert.is(inspect(frame).weight, taken ? weight : 0)
    member.open = { gradients, taken, weight }
    if (taken) member.weight = weight
    return frame
  }

  /** Receives the step's mean, and checks the residual. */
  async function end(member: Member): Promise<void> {
    const past = history[member.at]!
    if (past.mean === null) {
      await abort(member)
      return
    }
    assert.is(await member.compressor.receive(past.mean), null)
    const reported = member.compressor.updateNorm!
    const update = SHAPES.map((shape) => new Float32Array(lengthOf(shape)).fill(Number.NaN))
    const { counted } = await member.compressor.decompress(update)
    assert.is(counted, inspect(past.mean).senders.includes(member.sender))
    if (past.update) {
      for (const [i, x] of update.entries()) sameFloats(x, past.update[i]!, `update ${i}`)
    } else {
      past.update = update
      const length = Math.hypot(...update.map(norm))
      assert.ok(
        Math.abs(reported - length) <= 1e-5 * length + 1e-30,
        `updateNorm ${reported} of ${length}`,
      )
    }
    await settled(member, counted ? past : null)
  }

  async function abort(member: Member): Promise<void> {
    member.compressor.abort()
    await settled(member, null)
  }

  /** Rule 1 (a), for one step. @param past  the step, if this worker has counted in it */
  async function settled(member: Member, past: Past | null): Promise<void> {
    const { gradients, taken, weight } = member.open!
    const left = await residualsOf(member.compressor)
    const who = `step ${member.at}, sender ${member.sender}`
    const all = SHAPES.map((shape, i): Taken => {
      const before = member.e[i]!
      const m = taken ? before.map((x, j) => x + gradients![i]![j]!) : before
      const rows = shape[0] ?? 1
      return { rows, cols: m.length / rows, m, left: left[i]!, wire: member.wire }
    })
    if (past) {
      past.contributions.set(member.sender, { weight, taken: all })
      for (const [i, one] of all.entries()) {
        if (past.compressing) named(`${who}, parameter ${i}`, () => baseline.check(one))
        else
          assert.ok(
            one.left.every((x) => x === 0),
            `${who}: uncompressed steps leave nothing`,
          )
      }
    } else {
      for (const [i, { m }] of all.entries()) {
        // A gradient that was taken back: (e + g) − g
        const g = gradients?.[i]
        const lost = (j: number) => (taken || !g || !Number.isFinite(g[j]!) ? 0 : Math.abs(g[j]!))
        const slack = (j: number) => 3 * UNIT * (lost(j) > 0 ? Math.abs(m[j]!) + lost(j) : 0)
        within(left[i]!, m, slack, `${who}, parameter ${i}: all is kept`)
      }
    }
    member.e = left
    member.open = null
    member.at++
  }

  /** Takes the steps that the worker has slept through; no mean has its frames. */
  async function catchUp(member: Member): Promise<void> {
    if (member.open) await end(member)
    while (member.at < history.length) {
      await begin(member, 'normal')
      await end(member)
    }
  }

  /** The last worker hands its residual over to the first. */
  async function leave(all: Member[]): Promise<void> {
    const [heir, leaver] = [all[0]!, all.pop()!]
    await heir.compressor.adopt(await leaver.compressor.save())
    const factor = leaver.weight / heir.weight
    const now = await residualsOf(heir.compressor)
    for (const [i, e] of now.entries()) {
      const want = heir.e[i]!.map((x, j) => x + factor * leaver.e[i]![j]!)
      const slack = (j: number) =>
        2 * UNIT * (Math.abs(heir.e[i]![j]!) + Math.abs(want[j]!)) + SMALLEST
      within(e, want, slack, 'what was adopted')
    }
    heir.e = now
    leaver.compressor.dispose()
  }
}

/** Rule 1 (b): the update is the weighted mean of the parts that left the senders' M. */
function balance(baseline: Baseline, past: Past, what: string): void {
  const { mean, compressing, contributions, update } = past
  if (mean === null) return
  const { senders, weight: total } = inspect(mean)
  assert.equal(
    [...contributions.keys()].sort((a, b) => a - b),
    senders,
  )
  for (const [i, got] of update!.entries()) {
    const all = senders.map((sender) => contributions.get(sender)!)
    const want = new Float64Array(got.length)
    const slack = new Float64Array(got.length).fill((all.length + 4) * SMALLEST)
    for (const { weight, taken } of all) {
      const { m, left } = taken[i]!
      const share = weight / total
      const own = baseline.slack(taken[i]!)
      for (let j = 0; j < want.length; j++) {
        const contribution = m[j]! - left[j]!
        want[j]! += share * contribution
        slack[j]! += share * (2 * own(j) + (all.length + 4) * UNIT * Math.abs(contribution))
      }
    }
    within(got, want, (j) => slack[j]!, `${what}, parameter ${i}: the update`)
    const sent = all.map(({ taken }) => taken[i]!)
    if (compressing && sent.length > 0)
      named(`${what}, parameter ${i}`, () => baseline.checkAll?.(sent))
  }
}

/** The mean of frames, as this transport makes it. */
function meanBy(
  frames: readonly Uint8Array[],
  how: Scenario['steps'][number]['transport'],
): Uint8Array {
  switch (how) {
    case 'flat':
      return aggregate(frames)
    case 'tree':
      return frames.reduce((mean, frame, i) => (i === 0 ? frame : aggregate([frame, mean])))
    case 'stream': {
      const server = createAggregate()
      for (const frame of [...frames].reverse()) server.add(frame)
      return server.result()
    }
    case 'slices': {
      const mean = aggregate(frames)
      return joinSlices(splitFrame(mean, Math.max(300, mean.length >> 1)).reverse())
    }
  }
}

function gradientsFor(kind: Gradient, seed: number): Float32Array[] | null {
  if (kind === 'none') return null
  const next = numbers(seed)
  const all = SHAPES.map((shape, i) => {
    const scale = 10 ** ((i % 4) - 2) * (kind === 'tiny' ? 1e-36 : 1)
    const one = () => {
      if (kind === 'zero') return 0
      return kind === 'ties' ? Math.round(2 * next()) : scale * next()
    }
    return Float32Array.from({ length: lengthOf(shape) }, one)
  })
  if (kind === 'notFinite') all[Math.abs(seed) % all.length]![0] = Number.NaN
  return all
}

function fateOf(fates: readonly Fate[], place: number): Fate {
  const own = fates[place % fates.length]!
  return place === 0 ? { ...own, sleeps: false, abortsAlone: false } : own
}

function lengthOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1)
}

/** Adds the step and the worker to the message of a failed check. */
function named(what: string, check: () => void): void {
  try {
    check()
  } catch (error) {
    throw new Error(`${what}: ${(error as Error).message}`, { cause: error })
  }
}
