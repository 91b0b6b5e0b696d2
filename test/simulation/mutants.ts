// Mutants: fleets with one defect that the checks must find. The same fleet without it must pass.

import type { Backend, Random, Session } from '../../src/backend.ts'
import { beginFrame, sealFrame } from '../../src/codec/frame.ts'
import { aggregate } from '../../src/frames.ts'
import { wasm } from '../../src/index.ts'
import { halfSteps } from '../../src/methods.ts'
import { open } from '../support/frames.ts'
import { numbers } from '../support/numbers.ts'
import { layoutOf, tableOf } from './expected-layout.ts'
import type { Mutation } from './fleet.ts'
import { PLAIN, type Scenario, type Script } from './scenario.ts'

export interface Mutant {
  readonly name: string
  /** fixed, over random scenarios */
  readonly scenario: Partial<Scenario>
  readonly bad: Mutation
  readonly good: Mutation
  /** the message of the check that finds it */
  readonly found: RegExp
}

const STEPS: readonly Script[] = [PLAIN, PLAIN, PLAIN]
const fates = (...changes: Partial<Script['fates'][0]>[]) =>
  changes.map((change) => ({ ...PLAIN.fates[0]!, ...change }))

const SHAPES: readonly (readonly number[])[] = [[6, 9], [5], [4, 3, 5]]
const BASE: Partial<Scenario> = {
  shapes: SHAPES,
  shared: { rank: 2, minCompressionRate: 0 },
  workers: 3,
  wires: ['f32'],
  steps: STEPS,
}

const HALVES: Partial<Scenario> = {
  ...BASE,
  shared: { rank: 2, minCompressionRate: 0, iterations: 2, method: halfSteps() },
}

export const mutants: readonly Mutant[] = [
  {
    name: 'a query that differs by worker',
    scenario: { ...BASE, shared: { ...BASE.shared, warmStart: false } },
    good: { random: () => drawn(0) },
    bad: { random: (sender) => drawn(sender) },
    found: /q\/\d of all workers/,
  },
  {
    name: 'a replaced column that differs by worker',
    scenario: { ...BASE, steps: [{ ...PLAIN, fates: fates({ gradient: 'dependent' }) }] },
    good: { random: () => drawn(0) },
    bad: { random: (sender) => drawn(sender) },
    // The check may find the worker's own bits, its own Q, or the others' result of the mean.
    found: /factor of parameter|update of step/,
  },
  {
    name: 'a raw tensor that is lost on its way',
    scenario: BASE,
    good: { corrupt: (frame) => sealFrame(frame.slice()) },
    bad: { corrupt: withoutRaw },
    found: /^mean/,
  },
  {
    name: 'a residual taken from factors that were not decoded',
    scenario: { ...BASE, wires: ['int8'] },
    good: { options: () => ({ backend: altered({}) }) },
    bad: {
      options: () => ({
        backend: altered({
          write: (session, slot, values) => {
            if (slot !== 'qLocal') session.write(slot, values)
          },
        }),
      }),
    },
    found: /^ledger of worker/,
  },
  {
    name: 'a residual taken from the mean',
    scenario: BASE,
    good: { options: () => ({ backend: altered({}) }) },
    bad: {
      options: () => ({
        backend: altered({
          write: (session, slot, values) => {
            session.write(slot, values)
            if (slot === 'qMean') session.write('qLocal', values)
          },
        }),
      }),
    },
    found: /^ledger of worker/,
  },
  {
    name: 'a residual without what a lost frame would have brought',
    scenario: { ...BASE, steps: [{ ...PLAIN, fates: fates({}, { lost: 2 }, {}) }] },
    good: { options: () => ({ backend: altered({}) }) },
    bad: {
      options: () => ({
        backend: altered({ settle: (session, _, raw, sink) => session.settle(true, raw, sink) }),
      }),
    },
    found: /^ledger of worker/,
  },
  {
    name: 'a mean with one sender in it twice',
    scenario: BASE,
    good: { aggregate: (frames) => averageOf(frames, frames) },
    bad: { aggregate: (frames) => averageOf([frames[0]!, ...frames], frames) },
    found: /^mean/,
  },
  {
    name: 'an abort after the last frame has counted',
    scenario: { ...BASE, steps: [PLAIN, { ...PLAIN, abort: { round: 1, who: 1 } }] },
    good: {},
    bad: { abortsLate: true },
    found: /^ledger of worker/,
  },
  {
    name: 'half-steps: a P that has gone out, and stays',
    scenario: HALVES,
    good: { options: () => ({ backend: altered({}) }) },
    bad: {
      options: () => ({
        backend: altered({
          settle: (session, deflate, raw, sink) => {
            if (sink !== null || deflate === false) session.settle(deflate, raw, sink)
          },
        }),
      }),
    },
    found: /^ledger of worker/,
  },
  {
    name: 'half-steps: a Q that is taken although its frame was lost',
    scenario: { ...HALVES, steps: [{ ...PLAIN, fates: fates({}, { lost: 2 }, {}) }, PLAIN] },
    good: { options: () => ({ backend: altered({}) }) },
    bad: {
      options: () => ({
        backend: altered({
          settle: (session, deflate, raw, sink) =>
            session.settle(deflate || raw !== null, raw, sink),
        }),
      }),
    },
    found: /^ledger of worker/,
  },
  {
    name: 'half-steps: a second one that sends what the first has sent',
    scenario: HALVES,
    good: { options: () => ({ backend: altered({}) }) },
    bad: {
      options: () => ({
        backend: altered({
          // The decoded factor is not written back.
          write: (session, slot, values) => {
            if (slot !== 'qLocal') session.write(slot, values)
          },
        }),
      }),
    },
    found: /^right factor of parameter/,
  },
  {
    name: 'half-steps: an abort after a frame has counted, though not the last',
    scenario: { ...HALVES, steps: [PLAIN, { ...PLAIN, abort: { round: 1, who: 1 } }] },
    good: {},
    bad: { abortsLate: true },
    found: /^ledger of worker/,
  },
  {
    name: 'half-steps: a first P that differs by worker',
    scenario: HALVES,
    good: { random: () => drawn(0) },
    bad: { random: (sender) => drawn(sender) },
    found: /^parent of all workers/,
  },
]

/** Numbers that do not depend on the worker in step 0, so that parents agree. */
function drawn(sender: number): Random {
  return (use, parameter, column, step, length) => {
    const first = step === 0 && use === 0
    const next = numbers(
      (first ? 0 : sender) + 31 * use + 101 * parameter + 977 * column + 7 * step,
    )
    return Float32Array.from({ length }, next)
  }
}

function withoutRaw(bytes: Uint8Array): Uint8Array {
  const { ranks, valuesAt, count } = open(bytes)
  const { rightFloats, rawFloats } = layoutOf(tableOf(SHAPES), [...ranks])
  if (count !== rightFloats + rawFloats) return bytes
  const copy = bytes.slice()
  copy.fill(0, valuesAt + 4 * rightFloats)
  return sealFrame(copy)
}

/** The mean of `summed`, with a header that names the senders of `listed`. */
function averageOf(summed: readonly Uint8Array[], listed: readonly Uint8Array[]): Uint8Array {
  const frames = summed.map(open)
  const header = open(aggregate(listed))
  const { bytes, floats } = beginFrame(header, header.values.length)
  const weight = frames.reduce((sum, frame) => sum + frame.weight, 0)
  for (let i = 0; i < floats!.length; i++) {
    floats![i] = frames.reduce((sum, frame) => sum + frame.weight * frame.floats[i]!, 0) / weight
  }
  return sealFrame(bytes)
}

interface Changes {
  write?(session: Session, ...args: Parameters<Session['write']>): void
  settle?(session: Session, ...args: Parameters<Session['settle']>): ReturnType<Session['settle']>
}

/** The wasm backend with some calls changed. */
function altered({ write, settle }: Changes): Backend {
  return {
    name: 'altered',
    async open(layout) {
      const session = await wasm().open(layout)
      return {
        synchronous: true,
        gradients: null,
        check: (...given) => session.check(...given),
        accumulateProject: (gradients) => session.accumulateProject(gradients),
        withdraw: (gradients) => session.withdraw(gradients),
        project: () => session.project(),
        backproject: () => session.backproject(),
        settle: (...args) => (settle ? settle(session, ...args) : session.settle(...args)),
        read: (slots, into) => session.read(slots, into),
        write: (...args) => (write ? write(session, ...args) : session.write(...args)),
        scale: (slot, factor) => session.scale(slot, factor),
        norms: () => session.norms(),
        rearrange: (next) => session.rearrange(next),
        dispose: () => session.dispose(),
      }
    },
  }
}
