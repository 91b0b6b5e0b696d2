// Random scenarios of a fleet, small enough to be shrunk by fast-check.
import fc from 'fast-check'
import type { Wire } from '../../src/frames.ts'
import type { ParameterSpec, Rank, SharedOptions } from '../../src/index.ts'
import { halfSteps } from '../../src/methods.ts'

export interface Scenario {
  /** of all numbers in the scenario */
  readonly seed: number
  readonly shapes: readonly ParameterSpec[]
  readonly shared: SharedOptions
  /** by member, round robin */
  readonly wires: readonly Wire[]
  readonly workers: number
  readonly weighing: 'equal' | 'random' | 'extreme'
  readonly steps: readonly Script[]
}

/** One step, and the event before it. */
export interface Script {
  readonly event: Event
  /** by position in the fleet, round robin */
  readonly fates: readonly Fate[]
  /** this position in the fleet, or all, abort the step before the mean of this round */
  readonly abort: { readonly round: number; readonly who: number | 'all' } | null
  readonly transport: Transport
  readonly spoilt: Spoilt
  /** what a peer sends that is no member, in a frame that nobody can refuse; null: there is none */
  readonly hostile: Hostile | null
}

export type Hostile = 'large' | 'mixed' | 'zero'

export type Transport = 'flat' | 'shuffled' | 'tree' | 'stream' | 'slices'
export type Spoilt = 'nothing' | 'bit' | 'truncated' | 'former' | 'foreign' | 'twice' | 'tooLarge'

export interface Fate {
  readonly gradient: Gradient
  /** bit k: the worker's frame of round k does not arrive */
  readonly lost: number
  /** receives no mean from this round on, until it catches up */
  readonly late: number | null
  /** false: a worker that is behind stays behind */
  readonly returns: boolean
  /** false: does not ask for the update */
  readonly writes: boolean
}

export type Gradient =
  | 'normal'
  | 'tiny'
  | 'zero'
  | 'dependent'
  | 'huge'
  | 'overflowing'
  | 'notFinite'
  | 'weightless'
  | 'none'
  | 'partial'

export type Event =
  | { readonly kind: 'none' | 'restore' | 'join' | 'leave' }
  | { readonly kind: 'merge'; readonly workers: number }
  | { readonly kind: 'rescale'; readonly factor: number }
  | { readonly kind: 'setRank'; readonly rank: Rank | readonly Rank[] }

const size = fc.integer({ min: 1, max: 12 })

const spec: fc.Arbitrary<ParameterSpec> = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(size, size) },
  { weight: 2, arbitrary: fc.tuple(size) },
  { weight: 1, arbitrary: fc.constant([] as number[]) },
  { weight: 1, arbitrary: fc.tuple(fc.constant(1), size) },
  { weight: 2, arbitrary: fc.tuple(size, fc.integer({ min: 1, max: 3 }), size) },
  // as [kh, kw, in, out]: the rows are not the first axis
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.integer({ min: 1, max: 3 }), size, size)
      .map(([a, b, c]) => ({ shape: [a, b, c], rows: a * b })),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(size, size, fc.boolean())
      .map(([n, m, compress]) => ({ shape: [n, m], compress })),
  },
  { weight: 1, arbitrary: size.map((n) => ({ shape: [n], compress: true })) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(size, size, fc.integer({ min: 1, max: 5 }))
      .map(([n, m, rank]) => ({ shape: [n, m], rank })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(size, size).map((shape) => ({ shape, rank: 'frozen' as const })),
  },
  // wider than the kernels' tiles and lanes, so that strips and remainders both occur
  {
    weight: 1,
    arbitrary: fc.tuple(fc.integer({ min: 3, max: 9 }), fc.integer({ min: 60, max: 140 })),
  },
)

export const gradient: fc.Arbitrary<Gradient> = fc.oneof(
  { weight: 16, arbitrary: fc.constant('normal' as const) },
  { weight: 2, arbitrary: fc.constant('tiny' as const) },
  { weight: 2, arbitrary: fc.constant('zero' as const) },
  { weight: 2, arbitrary: fc.constant('dependent' as const) },
  { weight: 1, arbitrary: fc.constant('huge' as const) },
  { weight: 1, arbitrary: fc.constant('overflowing' as const) },
  { weight: 2, arbitrary: fc.constant('notFinite' as const) },
  { weight: 2, arbitrary: fc.constant('weightless' as const) },
  { weight: 2, arbitrary: fc.constant('none' as const) },
  // null for some of the parameters
  { weight: 2, arbitrary: fc.constant('partial' as const) },
)

const fate: fc.Arbitrary<Fate> = fc.record({
  gradient,
  lost: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.nat(63) }),
  late: fc.oneof(
    { weight: 6, arbitrary: fc.constant(null) },
    { weight: 2, arbitrary: fc.oneof(fc.nat(1), fc.nat(5)) },
  ),
  returns: fc.boolean(),
  writes: fc.boolean(),
})

const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 6, arbitrary: fc.constant({ kind: 'none' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'restore' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'join' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'leave' as const }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('merge' as const),
      workers: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('rescale' as const),
      factor: fc.constantFrom(0, 0.5, -3, 4),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('setRank' as const),
      rank: fc.oneof(
        fc.integer({ min: 1, max: 6 }),
        fc.array(fc.oneof(...[0, 1, 2].map(() => fc.nat(6)), fc.constant('frozen' as const)), {
          minLength: 5,
          maxLength: 5,
        }),
        fc.constant('frozen' as const),
      ),
    }),
  },
)

const script: fc.Arbitrary<Script> = fc.record({
  event,
  fates: fc.array(fate, { minLength: 1, maxLength: 5 }),
  abort: fc.oneof(
    { weight: 7, arbitrary: fc.constant(null) },
    {
      weight: 2,
      arbitrary: fc.record({
        round: fc.nat(5),
        who: fc.oneof(
          { weight: 1, arbitrary: fc.constant('all' as const) },
          { weight: 2, arbitrary: fc.integer({ min: 1, max: 4 }) },
        ),
      }),
    },
  ),
  transport: fc.constantFrom('flat', 'shuffled', 'tree', 'stream', 'slices'),
  spoilt: fc.constantFrom(
    'nothing',
    'nothing',
    'bit',
    'truncated',
    'former',
    'foreign',
    'twice',
    'tooLarge',
  ),
  hostile: fc.constantFrom(null, null, null, null, 'large', 'mixed', 'zero'),
})

export const wire = fc.constantFrom<Wire>('f32', 'f32', 'f16', 'bf16', 'int8')

/** Scenarios of any method. */
const common = {
  rank: fc.integer({ min: 1, max: 5 }),
  seed: fc.nat(1000),
  iterations: fc.constantFrom(1, 1, 1, 2, 3),
  minCompressionRate: fc.constantFrom(0, 0, 0, 1, 2),
  startCompressingAfter: fc.constantFrom(0, 0, 0, 1, 2, 3),
  refresh: fc.constantFrom(0, 0, 0, 2),
}

const full = fc.record({
  ...common,
  warmStart: fc.constantFrom<boolean | 'fixed'>(true, true, false, 'fixed'),
})

const halves = fc.record({ ...common, method: fc.constant(halfSteps()) })

export const scenario = scenarioWith(fc.oneof(full, halves))

/** Scenarios of full steps only. */
export const fullScenario = scenarioWith(full)

function scenarioWith(shared: fc.Arbitrary<SharedOptions>): fc.Arbitrary<Scenario> {
  return fc.record({
    seed: fc.nat(1e6),
    shapes: fc.array(spec, { minLength: 1, maxLength: 5 }),
    shared,
    wires: fc.array(wire, { minLength: 1, maxLength: 5 }),
    workers: fc.integer({ min: 1, max: 5 }),
    weighing: fc.constantFrom('equal', 'random', 'extreme'),
    steps: fc.array(script, { minLength: 1, maxLength: 7 }),
  })
}

/** A step in which nothing goes wrong. */
export const PLAIN: Script = {
  event: { kind: 'none' },
  fates: [{ gradient: 'normal', lost: 0, late: null, returns: true, writes: true }],
  abort: null,
  transport: 'flat',
  spoilt: 'nothing',
  hostile: null,
}
