// The same schedules for every method whose books are known to balance. What such a method sends is
// not read from its frames, as full steps and half-steps are: a contribution is what has left M. The
// books are then: M − what is left = contribution, and the update is the mean of contributions.
import * as assert from 'uvu/assert'
import { inspect } from '../../src/frames.ts'
import {
  type Compressor,
  createCompressor,
  mergeCheckpoints,
  type Options,
  type ParameterSpec,
  type Rank,
} from '../../src/index.ts'
import { SMALLEST, sameFloats, UNIT, within } from '../support/close.ts'
import { residualsOf } from '../support/fleet.ts'
import { LOCAL, METHODS } from '../support/methods.ts'
import { norm } from '../support/norms.ts'
import { numbers } from '../support/numbers.ts'
import { tableOf } from './expected-layout.ts'
import { gradientFor } from './member.ts'
import type { Event, Scenario, Script } from './scenario.ts'
import { badFrames, hostileFrame } from './spoilt-frames.ts'
import { transport } from './transports.ts'

/** Relative tolerance of sums over all workers, one after another, in float32. */
const CLOSE = 4e-6

/** Methods that keep what they could not send, by name. */
export const BALANCED: Readonly<Record<string, Options>> = {
  ...Object.fromEntries(LOCAL.map((name): [string, Options] => [name, METHODS[name]])),
  factored: { ...METHODS.factored, errorFeedback: 'local' },
}

interface Worker {
  readonly sender: number
  readonly compressor: Compressor
  /** its residual, as last read */
  e: Float32Array[]
  /** of its last gradient that was taken */
  weight: number
}

/** One worker's part of a step. */
interface Given {
  readonly m: readonly Float32Array[]
  /** per element, the roundings of a gradient that was added and taken back */
  readonly gradients: readonly Float32Array[] | null
  readonly taken: boolean
  readonly weight: number
}

/**
 * @param altered  options in the place of the method's own, as a mutant has them
 * @throws if a check fails
 */
export async function simulateMethod(
  name: string,
  { seed, shapes: all, wires, workers, weighing, steps }: Scenario,
  altered: Options = {},
): Promise<void> {
  const next = numbers(seed)
  const chance = () => (next() + 1) / 2
  const { method, ...rest } = BALANCED[name]!
  const gated = !method || method.supportedOptions.includes('minCompressionRate')
  const options: Options = {
    ...BALANCED[name],
    ...(gated ? { minCompressionRate: 0 } : {}),
    ...altered,
  }
  const ranked = 'rank' in rest
  const shapes = all.map((spec): ParameterSpec => {
    if (!('shape' in spec)) return spec
    const { shape, rank } = spec
    return rank === 'frozen' || (ranked && rank !== undefined) ? { shape, rank } : shape
  })
  const table = tableOf(shapes)
  let senders = 0
  const enlist = async (restore?: Uint8Array): Promise<Worker> => {
    const sender = (senders * 2654435761) >>> 0
    const wire = wires[senders++ % wires.length]!
    const own = { ...options, sender, wire, ...(restore && { restore }) }
    const compressor = await createCompressor(shapes, own)
    return { sender, compressor, e: await residualsOf(compressor), weight: 1 }
  }
  let fleet: Worker[] = []
  for (let i = 0; i < workers; i++) fleet.push(await enlist())
  /** the ranks of parameters that are not frozen, for the time after */
  const thawed = fleet[0]!.compressor.stats.ranks.map((rank) => rank)

  for (const [step, script] of steps.entries()) {
    await apply(script.event)
    await play(step, script)
  }
  for (const { compressor } of fleet) compressor.dispose()

  async function apply(event: Event): Promise<void> {
    const [first] = fleet as [Worker]
    if (event.kind === 'join' && fleet.length < 6) {
      const joined = await enlist()
      joined.compressor.join(await first.compressor.save({ residual: false }))
      fleet.push(joined)
    } else if (event.kind === 'leave' && fleet.length > 1 && weighing !== 'extreme') {
      const leaver = fleet.pop()!
      await first.compressor.adopt(await leaver.compressor.save())
      const factor = leaver.weight / first.weight
      const now = await residualsOf(first.compressor)
      for (const [i, e] of now.entries()) {
        const [own, other] = [first.e[i]!, leaver.e[i]!]
        const slack = (j: number) =>
          3 * UNIT * (Math.abs(own[j]!) + factor * Math.abs(other[j]!)) + SMALLEST
        const want = own.map((x, j) => x + factor * other[j]!)
        within(e, want, slack, `parameter ${i}: what was adopted`)
      }
      first.e = now
      leaver.compressor.dispose()
    } else if (event.kind === 'merge' && weighing !== 'extreme') {
      const merged = mergeCheckpoints(
        await Promise.all(fleet.map(({ compressor }) => compressor.save())),
      )
      for (const { compressor } of fleet) compressor.dispose()
      fleet = []
      for (let i = 0; i < event.workers; i++) fleet.push(await enlist(merged))
    } else if (event.kind === 'rescale') {
      for (const one of fleet) {
        await one.compressor.rescaleResidual(event.factor)
        one.e = one.e.map((e) => e.map((x) => Math.fround(event.factor) * x))
      }
    } else if (event.kind === 'setRank') {
      const now = first.compressor.stats.ranks
      const ranks = now.map((rank, i): Rank => {
        const asked = typeof event.rank === 'object' ? event.rank[i] : event.rank
        return asked === 'frozen' ? asked : rank === 'frozen' ? thawed[i]! : rank
      })
      for (const one of fleet) {
        one.compressor.setRank(ranks)
        one.e = one.e.map((e, i) => (ranks[i] === 'frozen' ? new Float32Array(e.length) : e))
      }
    }
  }

  async function play(step: number, script: Script): Promise<void> {
    const frozen = fleet[0]!.compressor.stats.ranks.map((rank) => rank === 'frozen')
    const given = new Map<Worker, Given>()
    const frames = new Map<Worker, Uint8Array>()
    for (const [i, one] of fleet.entries()) {
      const { gradient } = script.fates[i % script.fates.length]!
      const fate = { ...script.fates[i % script.fates.length]!, gradient }
      const gradients = gradientFor(fate, table, (seed + 7919 * step + one.sender) | 0)
      const weight = Math.fround(gradient === 'weightless' ? 0 : weightOf())
      const arrays =
        gradients?.map((g) => (gradient === 'partial' && g.every((x) => x === 0) ? null : g)) ??
        null
      const frame = await one.compressor.compress(arrays, { weight })
      const bad = gradients?.some((g, p) => !frozen[p] && g.some((x) => !(Math.abs(x) < 2 ** 100)))
      const taken = gradients !== null && weight > 0 && !bad
      assert.is(inspect(frame).weight, taken ? weight : 0, `step ${step}: ${gradient}`)
      const m = one.e.map((e, p) =>
        taken && !frozen[p] ? e.map((x, j) => x + gradients[p]![j]!) : e,
      )
      given.set(one, { m, gradients, taken, weight })
      if (taken) one.weight = weight
      frames.set(one, frame)
    }
    const means = await rounds(script, frames)
    if (means === null) {
      for (const [one, own] of given) {
        one.compressor.abort()
        await kept(one, own, frozen, `step ${step}, aborted`)
      }
      return
    }
    await settled(given, frozen, means, `step ${step}`)
  }

  /** @returns whether a peer that is no member was among the senders; null: all must abort */
  async function rounds(
    script: Script,
    frames: Map<Worker, Uint8Array>,
  ): Promise<{ readonly hostile: boolean } | null> {
    let hostile = false
    for (let round = 0; ; round++) {
      const sent = [...frames].filter(
        ([one]) => !(script.fates[fleet.indexOf(one) % script.fates.length]!.lost & 1),
      )
      if (sent.length === 0) return null
      if (round === 0 && script.abort?.who === 'all') return null
      const bytes = sent.map(([, frame]) => frame)
      const own = bytes.find((frame) => inspect(frame).weight > 0)
      if (script.hostile && own && inspect(own).kind === 'summed') {
        bytes.push(hostileFrame(own, script.hostile, weightOf(), chance))
        hostile = true
      }
      const spoilt =
        script.spoilt === 'twice' && script.transport === 'stream' ? 'bit' : script.spoilt
      const bad = badFrames(bytes, undefined, spoilt, chance)
      const { mean } = transport(bytes, bad, script.transport, chance)
      let done = false
      for (const one of fleet) {
        const frame = await one.compressor.receive(mean)
        if (frame) frames.set(one, frame)
        else done = true
      }
      if (done) return { hostile }
    }
  }

  /** Ends a step: the update is the mean of what has left M. */
  async function settled(
    given: ReadonlyMap<Worker, Given>,
    frozen: readonly boolean[],
    { hostile }: { readonly hostile: boolean },
    what: string,
  ): Promise<void> {
    const update = table.map(({ length }) => new Float32Array(length).fill(Number.NaN))
    const want = table.map(({ length }) => new Float64Array(length))
    const sizes = table.map(() => 0)
    for (const [one, own] of given) {
      const into = table.map(({ length }) => new Float32Array(length))
      const { counted, weight: total } = await one.compressor.decompress(into)
      if (one === fleet[0]) for (const [i, x] of into.entries()) update[i]!.set(x)
      for (const [i, x] of into.entries()) sameFloats(x, update[i]!, `${what}: update ${i}`)
      if (!counted) {
        await kept(one, own, frozen, what)
        continue
      }
      const left = await residualsOf(one.compressor)
      for (const [i, m] of own.m.entries()) {
        sizes[i] = Math.max(sizes[i]!, norm(m))
        for (let j = 0; j < m.length; j++) {
          want[i]![j]! += (own.weight / total) * (m[j]! - left[i]![j]!)
        }
      }
      one.e = left
    }
    for (const [i, x] of update.entries()) {
      assert.ok(x.every(Number.isFinite), `${what}: update ${i} is finite`)
      if (!hostile) {
        within(x, want[i]!, () => CLOSE * sizes[i]! + 16 * SMALLEST, `${what}: update ${i}`)
      }
    }
  }

  /** Nothing was taken from a worker that has not counted. */
  async function kept(
    one: Worker,
    { m, gradients, taken }: Given,
    frozen: readonly boolean[],
    what: string,
  ): Promise<void> {
    const left = await residualsOf(one.compressor)
    for (const [i, e] of left.entries()) {
      const largest = m[i]!.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
      const back = (j: number) => {
        const g = taken || frozen[i] ? 0 : Math.abs(gradients?.[i]?.[j] ?? 0)
        return g > 0 ? 1e-6 * largest + (Number.isFinite(g) ? 3 * UNIT * Math.min(g, 1e17) : 0) : 0
      }
      within(e, m[i]!, back, `${what}: parameter ${i} of sender ${one.sender} keeps all`)
    }
    one.e = left
  }

  function weightOf(): number {
    if (weighing === 'equal') return 1
    if (weighing === 'random') return Math.fround(0.1 + 10 * chance())
    return [2 ** -149, 1e-30, 1, 1e30, 3e38].map(Math.fround)[Math.floor(5 * chance())]!
  }
}
