// Ranks that adapt to the gradient: high while it changes fast, low while it does not. Agarwal,
// Wang, Lee, Venkataraman, Papailiopoulos 2021 (arXiv 2010.16248), with the decision rule of their
// code (github.com/uw-mad-dash/Accordion). It wraps PowerSGD's full step. Their code draws new
// factors at each change of rank; this one keeps the leading columns.

import type {
  Algorithm,
  LoadedState,
  SharedState,
  StepContext,
  StepGenerator,
} from '../algorithm.ts'
import type { Dense, Layout } from '../backend.ts'
import { quoted } from '../codec/safetensors.ts'
import { UnsupportedError } from '../errors.ts'
import { FROZEN, gatedRanks } from '../layout.ts'
import {
  type AlgorithmSetup,
  type Method,
  MOST_RANK,
  type Settings,
  type Spec,
} from '../options.ts'
import {
  aFunction,
  anObject,
  integer,
  isFloats,
  knownOptions,
  number,
  oneOf,
  show,
} from '../validate.ts'
import { FULL_STEP_OPTIONS, FullStep, fullRounds, gateOf } from './powersgd.ts'
import { roundsWithScalars, scalarsOf, withScalars } from './scalars.ts'

/** The published rule: the two ranks, and the threshold between them. */
export interface AccordionRule {
  /** The rank while the gradient changes little: from 1 to `high` − 1. */
  readonly low: number
  /** The rank while the gradient changes fast: from 2 to 65534. */
  readonly high: number
  /**
   * The rank is low where the norm changes by less than this fraction of the previous one; above 0.
   * Default 0.5.
   */
  readonly threshold?: number
}

/** Options of `accordion`. */
export interface AccordionOptions extends AccordionRule {
  /** The number of steps whose gradients are summed for one norm: an epoch, in the paper. */
  readonly window: number
  /**
   * Ranks are decided once in this number of windows, at the end of the window, beginning with the
   * first. Default 1.
   */
  readonly every?: number
  /**
   * Whether each matrix has its own norm and rank ('layer'), or all matrices share one ('global').
   * Default 'layer'.
   */
  readonly scope?: 'layer' | 'global'
  /**
   * Returns the learning rate of the step that begins; called once a step. When it is lower than in
   * the step before, all matrices on all workers get the high rank from the next step on. Either
   * all workers must have this option or none. It costs 4 bytes a step. Default: none.
   */
  readonly learningRate?: () => number
}

/**
 * Decides on a rank by the published rule: low if the norm differs from the previous one, in either
 * direction, by less than `threshold` times the previous one; else high. So it is also high where
 * either norm is infinite or NaN.
 *
 * @param previous  the norm of the last decision; with null or 0 there is nothing to compare with,
 *   and the rank is high
 * @param current  the norm of this decision
 * @throws TypeError, RangeError  naming the argument
 */
export function accordionDecision(
  previous: number | null,
  current: number,
  rule: AccordionRule,
): number {
  anObject('rule', rule, '{ low, high, threshold }')
  if (previous !== null) number('previous', previous, 'a number', () => true)
  number('current', current, 'a number', () => true)
  const { low, high, threshold } = ruleOf(rule)
  if (previous === null || previous === 0) return high
  return Math.abs(previous - current) / previous < threshold ? low : high
}

/**
 * Accordion: PowerSGD in full steps, with the rank of each matrix switched between two. It is high
 * while the matrix's gradient changes, low while it does not. Parameters with a `rank` of their own
 * keep it.
 *
 * The rule compares ‖Σ gradients of the steps of one window‖₂ with that of the window `every`
 * windows before. The gradients are the worker's own, without the residual. The authors' code takes
 * the norm of one worker. Here it is the weighted mean over all: (Σ norms) ÷ (Σ fractions of the
 * window that the workers were present for). So a worker that has contributed half of the window's
 * gradients counts with the norm of those, for half a window. Windows are counted by step number,
 * from `startCompressingAfter` on.
 *
 * A deciding step costs 4 bytes for each matrix, and 4 more. If it is aborted, or no frame counts
 * in it, ranks stay as they are.
 *
 * A checkpoint holds the ranks and the previous norms, but no sums. A worker that is restored or
 * joins in the middle of a window has gradients only for the rest of it, and counts with that
 * fraction.
 *
 * Memory: the sum is an array as large as all matrices, in JavaScript. Gradients must be arrays:
 * GPU buffers are refused with an UnsupportedError.
 *
 * @throws TypeError, RangeError  naming the option
 */
export function accordion(options: AccordionOptions): Method {
  const known = ['low', 'high', 'threshold', 'window', 'every', 'scope', 'learningRate']
  const { window, every = 1, scope = 'layer', learningRate } = knownOptions(options, known)
  const { low, high, threshold } = ruleOf(options)
  integer('window', window, 1, 0xffffffff)
  integer('every', every, 1, 0xffffffff)
  oneOf('scope', scope, ['layer', 'global'])
  if (learningRate !== undefined) aFunction('learningRate', learningRate)
  const shared = { low, high, threshold, window, every, scope }
  return {
    name: 'accordion',
    options: { ...shared, learningRate: learningRate !== undefined },
    supportedOptions: FULL_STEP_OPTIONS.filter((name) => name !== 'rank'),
    gate: (settings) => ({ ...gateOf(settings), wanted: high }),
    ranks: (specs, settings) => ranksAt(specs, settings, high),
    cycle: (layout, settings) => {
      const matrices = layout.matrices.length
      const norms = 1 + (scope === 'layer' ? matrices : 1)
      const scalars = norms / (window * every) + (learningRate ? 1 : 0)
      return [roundsWithScalars(fullRounds(layout, settings), matrices > 0 ? scalars : 0)]
    },
    create: (setup) => new Accordion(setup, { ...shared, learningRate }),
  }
}

/** The rule, with its default filled in. @throws TypeError, RangeError  naming the option */
function ruleOf({ low, high, threshold = 0.5 }: AccordionRule): Required<AccordionRule> {
  integer('high', high, 2, MOST_RANK)
  integer('low', low, 1, high - 1)
  number('threshold', threshold, 'a finite number > 0', (x) => x > 0 && Number.isFinite(x))
  return { low, high, threshold }
}

/** The options with defaults filled in. */
type ResolvedOptions = Required<Omit<AccordionOptions, 'learningRate'>> & {
  readonly learningRate: AccordionOptions['learningRate'] | undefined
}

/** The rank of each parameter if the shared option `rank` had this value. */
function ranksAt(specs: readonly Spec[], settings: Settings, rank: number): number[] {
  return gatedRanks(specs, settings, rank, gateOf(settings))
}

class Accordion implements Algorithm {
  readonly #full: FullStep
  readonly #options: ResolvedOptions
  /** the step that the first window begins with */
  readonly #firstStep: number
  /** the high rank of each parameter; 0: it is raw */
  readonly #high: readonly number[]
  /** the low rank of each parameter; 0: it is raw */
  readonly #low: readonly number[]
  /** the indices of the parameters that are compressed, unless they are frozen */
  readonly #matrices: readonly number[]
  /** for each of them, the sum of `#count` gradients of window number `#window` */
  #sums: Float32Array[] | null = null
  /** −1: the sums belong to no window */
  #window = -1
  #count = 0
  /** the norms of the last decision, the same on every worker; null: no decision yet */
  #previous: readonly number[] | null
  /** the learning rate of the last step */
  #learningRate: number | null = null
  /** true: the learning rate has dropped, and no mean that reports a drop has come since */
  #dropped = false

  constructor(setup: AlgorithmSetup, options: ResolvedOptions) {
    const { specs, settings } = setup
    this.#options = options
    this.#firstStep = settings.startCompressingAfter
    this.#high = ranksAt(specs, settings, options.high)
    // A matrix that is worth compressing only at the low rank stays raw: ranks change, the set of
    // matrices does not.
    const low = ranksAt(specs, settings, options.low)
    this.#low = this.#high.map((rank, i) => (rank === 0 ? 0 : low[i]!))
    this.#matrices = this.#high.flatMap((rank, i) => (rank === 0 ? [] : [i]))
    this.#previous = this.#normsIn(setup.loaded)
    this.#full = new FullStep(setup)
  }

  get shared(): SharedState {
    const { notes, ...factors } = this.#full.shared
    if (this.#previous === null) return { ...factors, notes }
    return { ...factors, notes: { ...notes, norms: this.#previous.join(' ') } }
  }

  prepare(context: StepContext): void {
    if (context.gradients?.some((one) => one !== null && !isFloats(one))) {
      throw new UnsupportedError(
        '"gradients": accordion sums them in arrays, and these are GPU buffers: ' +
          'byEnergy of lowrank/methods decides about ranks there',
      )
    }
    this.#checkLearningRate()
    this.#full.prepare(context)
  }

  /**
   * Asks for the learning rate, and sets `#dropped` if it is lower than in the step before.
   *
   * @throws TypeError  if it is not a finite number
   */
  #checkLearningRate(): void {
    const { learningRate } = this.#options
    if (!learningRate) return
    const rate = learningRate()
    if (typeof rate !== 'number' || !Number.isFinite(rate)) {
      throw new TypeError(`"learningRate": expected it to return a number, got ${show(rate)}`)
    }
    if (this.#learningRate !== null && rate < this.#learningRate) this.#dropped = true
    this.#learningRate = rate
  }

  *step(context: StepContext): StepGenerator {
    if (context.layout.matrices.length === 0) return yield* this.#full.step(context)
    const { learningRate, window, every } = this.#options
    const stepsSinceFirst = context.step - this.#firstStep
    const windowNumber = Math.floor(stepsSinceFirst / window)
    const measured = windowNumber % every === 0
    if (measured) this.#accumulate(context, windowNumber)
    const deciding = measured && (stepsSinceFirst + 1) % window === 0
    const flags = learningRate ? [Number(this.#dropped)] : []
    const scalars = scalarsOf([...flags, ...(deciding ? this.#norms(context.layout) : [])])
    const { finish, mean } = yield* withScalars(this.#full.step(context), scalars)
    if (mean.weight === 0) return finish
    const means = [...mean.scalars]
    const dropped = learningRate !== undefined && means.shift()! > 0
    // Sums and fractions of honest workers are above 0.
    const decided = deciding && means.at(-1)! > 0 ? this.#decideRanks(context.layout, means) : null
    if (dropped) this.#dropped = false
    const ranks = dropped ? this.#high : decided
    if (ranks === null) return finish
    const { parameters } = context.layout
    return { ...finish, ranks: ranks.map((rank, i) => (parameters[i]!.frozen ? FROZEN : rank)) }
  }

  /**
   * Adds this step's gradients to the sums of their window; a new window begins with new sums. Those
   * that are null, and those of frozen matrices, count as zeros.
   */
  #accumulate({ gradients, layout }: StepContext, windowNumber: number): void {
    if (windowNumber !== this.#window) {
      this.#window = windowNumber
      this.#count = 0
    }
    if (gradients === null) return
    const { parameters } = layout
    this.#sums ??= this.#matrices.map((i) => new Float32Array(parameters[i]!.length))
    for (const [k, sum] of this.#sums.entries()) {
      const { index, frozen } = parameters[this.#matrices[k]!]!
      const gradient = frozen ? null : (gradients[index] as Dense | null)
      if (this.#count === 0) sum.fill(0)
      if (gradient === null) continue
      if (this.#count === 0) sum.set(gradient)
      else for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + gradient[i]!
    }
    this.#count++
  }

  /**
   * This worker's scalars for a decision: the norms of its sums, then the fraction of the window's
   * steps that the sums have gradients of.
   */
  #norms({ parameters }: Layout): number[] {
    const squares = this.#matrices.flatMap((i, k) => {
      if (parameters[i]!.frozen) return []
      return this.#count === 0 ? 0 : this.#sums![k]!.reduce((sum, x) => sum + x * x, 0)
    })
    const { scope, window } = this.#options
    const norms = scope === 'global' ? [squares.reduce((a, b) => a + b, 0)] : squares
    return [...norms.map(Math.sqrt), this.#count / window]
  }

  /**
   * Decides on the rank of each parameter, and keeps the norms for the next decision. Those of
   * frozen matrices are 0.
   *
   * @param means  over the workers: of the norms, then of the fractions of the window
   */
  #decideRanks(layout: Layout, means: readonly number[]): number[] {
    const fraction = means.at(-1)!
    const received = means.slice(0, -1).map((norm) => Math.max(0, norm) / fraction)
    const norms =
      this.#options.scope === 'global'
        ? received
        : this.#matrices.map((i) => (layout.parameters[i]!.frozen ? 0 : received.shift()!))
    const previous = this.#previous
    this.#previous = norms
    const decisions = norms.map((norm, k) =>
      accordionDecision(previous?.[k] ?? null, norm, this.#options),
    )
    const ranks = [...this.#high]
    for (const [k, i] of this.#matrices.entries()) {
      const decision = decisions[this.#options.scope === 'global' ? 0 : k]
      if (decision === this.#options.low) ranks[i] = this.#low[i]!
    }
    return ranks
  }

  load(layout: Layout, loaded: LoadedState, step: number): () => void {
    const previous = this.#normsIn(loaded)
    const replace = this.#full.load(layout, loaded, step)
    return () => {
      replace()
      this.#previous = previous
      this.#window = -1 // the gradients summed so far may belong to the run before the load
    }
  }

  /**
   * The norms of the last decision in a checkpoint; null if it has none.
   *
   * @throws RangeError  if they are not as many numbers as expected
   */
  #normsIn({ notes: { norms } }: LoadedState): number[] | null {
    if (norms === undefined) return null
    const count = this.#options.scope === 'global' ? 1 : this.#matrices.length
    const values = norms.split(' ', count + 1).map(Number)
    const valid = values.length === count && !values.some((norm) => norm < 0)
    if (valid && values.join(' ') === norms) return values
    throw new RangeError(
      `"checkpoint": notes: norms: expected ${count} numbers, got ${quoted(norms)}`,
    )
  }

  rearrange(layout: Layout, step: number): () => void {
    return this.#full.rearrange(layout, step)
  }
}
