// Ranks that follow the gradient: high while it changes fast, low while it does not. Agarwal, Wang, Lee,
// Venkataraman, Papailiopoulos 2021 (arXiv 2010.16248), as their code decides
// (github.com/uw-mad-dash/Accordion); around PowerSGD's full step, and without their fresh start of the
// factors at each change.

import type {
  Algorithm,
  LoadedState,
  SharedState,
  StepContext,
  StepGenerator,
} from '../algorithm.ts'
import type { Dense, Layout } from '../backend.ts'
import { UnsupportedError } from '../errors.ts'
import { gatedRanks } from '../layout.ts'
import type { AlgorithmSetup, Method, Settings, Spec } from '../options.ts'
import { integer, show } from '../validate.ts'
import { costOf, FULL_STEP_OPTIONS, FullStep, fullRounds } from './powersgd.ts'
import { roundsWithScalars, scalarsOf, withScalars } from './scalars.ts'

/** The published rule. */
export interface AccordionRule {
  readonly low: number
  readonly high: number
  /** Relative change of the norm below which the low rank does. Default 0.5. */
  readonly threshold?: number
}

export interface AccordionOptions extends AccordionRule {
  /** Steps whose gradients are summed for one norm: an epoch, as published. */
  readonly window: number
  /** Ranks are decided at the end of every so many windows, the first among them. Default 1. */
  readonly every?: number
  /** Whether each matrix has a norm and a rank of its own ('layer'), or all together. Default 'layer'. */
  readonly scope?: 'layer' | 'global'
  /**
   * The caller's learning rate in the step that begins; asked once a step. Where it is less than in the
   * step before, all matrices go to the high rank, on all workers, from the next step on. Either all
   * workers give one or none; it costs 4 bytes a step.
   */
  readonly learningRate?: () => number
}

/**
 * The rank for a norm, as published: low if it differs from the previous one by less than `threshold`
 * times that, in either direction; high otherwise, so where either is infinite or NaN, too.
 *
 * @param previous  null, or 0: there is nothing to compare with, and the rank is high
 */
export function accordionDecision(
  previous: number | null,
  current: number,
  { low, high, threshold = 0.5 }: AccordionRule,
): number {
  if (previous === null || previous === 0) return high
  return Math.abs(previous - current) / previous < threshold ? low : high
}

/**
 * PowerSGD's full step with the rank of each matrix switched between two: high while its gradient
 * changes, low while it does not (Accordion). Parameters with a `rank` of their own keep it.
 *
 * Compared are ‖Σ gradients of the steps of one window‖₂ and that of the window `every` windows before:
 * of the worker's own raw gradients, without what is pending. Where the authors take those of one
 * worker, here it is the mean of all, by weight: (Σ norms) ÷ (Σ parts of the window that they were
 * present for). So a worker that has sent half of its gradients counts with half a norm for half a
 * window. Windows are counted by step numbers, from `startCompressingAfter` on; a deciding step costs
 * 4 bytes for each matrix, and 4. If it is aborted or nobody is heard in it, ranks stay as they are.
 *
 * What a checkpoint has of it are ranks and previous norms. A worker that is restored, or joins, in the
 * middle of a window has gradients for the rest of it, and counts with that part.
 *
 * The sum is an array as large as all matrices, in JavaScript. Gradients must be arrays.
 */
export function accordion(options: AccordionOptions): Method {
  const { low, high, window, every = 1, threshold = 0.5, scope = 'layer', learningRate } = options
  integer('high', high, 2, 65535)
  integer('low', low, 1, high - 1)
  integer('window', window, 1, 0xffffffff)
  integer('every', every, 1, 0xffffffff)
  if (!(typeof threshold === 'number' && threshold > 0 && threshold < Number.POSITIVE_INFINITY)) {
    throw new RangeError(`"threshold": expected a number > 0, got ${show(threshold)}`)
  }
  if (scope !== 'layer' && scope !== 'global') {
    throw new RangeError(`"scope": expected "layer" or "global", got ${show(scope)}`)
  }
  if (learningRate !== undefined && typeof learningRate !== 'function') {
    throw new TypeError(`"learningRate": expected a function, got ${show(learningRate)}`)
  }
  const shared = { low, high, threshold, window, every, scope }
  return {
    name: 'accordion',
    options: { ...shared, learningRate: learningRate !== undefined },
    supportedOptions: FULL_STEP_OPTIONS.filter((name) => name !== 'rank'),
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

/** Options with defaults filled in. */
type Filled = Required<Omit<AccordionOptions, 'learningRate'>> & {
  readonly learningRate: AccordionOptions['learningRate'] | undefined
}

/** As if this rank had been asked for. */
function ranksAt(specs: readonly Spec[], settings: Settings, rank: number): number[] {
  return gatedRanks(specs, settings, rank, { cost: costOf(settings) })
}

class Accordion implements Algorithm {
  readonly #full: FullStep
  readonly #options: Filled
  /** the step that the first window begins with */
  readonly #first: number
  /** of all parameters */
  readonly #high: readonly number[]
  readonly #low: readonly number[]
  /** indices of those that are compressed */
  readonly #matrices: readonly number[]
  /** Σ of their gradients in window `#window`: `#count` of them */
  #sums: Float32Array[] | null = null
  #window = -1
  #count = 0
  /** the means that ranks were last decided by; null: none yet */
  #previous: readonly number[] | null
  /** the caller's in the last step */
  #rate: number | null = null
  /** it has become less, and no mean that says so has come since */
  #dropped = false

  constructor(setup: AlgorithmSetup, options: Filled) {
    const { specs, settings } = setup
    this.#options = options
    this.#first = settings.startCompressingAfter
    this.#high = ranksAt(specs, settings, options.high)
    // What would pay at the low rank alone stays raw: ranks change, matrices remain.
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
    if (context.gradients?.some((one) => !(one instanceof Float32Array))) {
      throw new UnsupportedError(
        '"gradients": accordion sums them in arrays, and these are GPU buffers: ' +
          'byEnergy of lowrank/methods decides about ranks there',
      )
    }
    this.#observe()
    this.#full.prepare(context)
  }

  /** Whether the learning rate is less than in the step before. */
  #observe(): void {
    const { learningRate } = this.#options
    if (!learningRate) return
    const rate = learningRate()
    if (typeof rate !== 'number' || !Number.isFinite(rate)) {
      throw new TypeError(`"learningRate": expected it to return a number, got ${show(rate)}`)
    }
    if (this.#rate !== null && rate < this.#rate) this.#dropped = true
    this.#rate = rate
  }

  *step(context: StepContext): StepGenerator {
    if (this.#matrices.length === 0) return yield* this.#full.step(context)
    const { learningRate, window, every } = this.#options
    const at = context.step - this.#first
    const number = Math.floor(at / window)
    const compared = number % every === 0
    if (compared) this.#take(context, number)
    const deciding = compared && (at + 1) % window === 0
    const flags = learningRate ? [Number(this.#dropped)] : []
    const scalars = scalarsOf([...flags, ...(deciding ? this.#own() : [])])
    const { finish, mean } = yield* withScalars(this.#full.step(context), scalars)
    if (mean.weight === 0) return finish
    const told = [...mean.scalars]
    const dropped = learningRate !== undefined && told.shift()! > 0
    const decided = deciding ? this.#decided(told) : null
    if (dropped) this.#dropped = false
    const ranks = dropped ? this.#high : decided
    return ranks === null ? finish : { ...finish, ranks }
  }

  /** Adds a gradient to the sums of its window. */
  #take({ gradients }: StepContext, window: number): void {
    if (window !== this.#window) {
      this.#window = window
      this.#count = 0
    }
    if (gradients === null) return
    this.#sums ??= this.#matrices.map((i) => new Float32Array(gradients[i] as Dense))
    for (const [k, sum] of this.#sums.entries()) {
      const gradient = gradients[this.#matrices[k]!] as Dense
      if (this.#count === 0) sum.set(gradient)
      else for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + gradient[i]!
    }
    this.#count++
  }

  /** What this worker tells: its norms, and the part of the window that they are of. */
  #own(): number[] {
    const squares = this.#matrices.map((_, k) =>
      this.#count === 0 ? 0 : this.#sums![k]!.reduce((sum, x) => sum + x * x, 0),
    )
    const { scope, window } = this.#options
    const all = scope === 'global' ? [squares.reduce((a, b) => a + b, 0)] : squares
    return [...all.map(Math.sqrt), this.#count / window]
  }

  /** Of the means of what all have told. */
  #decided(told: readonly number[]): number[] {
    const part = told.at(-1)!
    const norms = told.slice(0, -1).map((norm) => norm / part)
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

  load(layout: Layout, loaded: LoadedState, step: number): void {
    const previous = this.#normsIn(loaded)
    this.#full.load(layout, loaded, step)
    this.#previous = previous
    this.#window = -1 // another fleet's, for all that is known
  }

  #normsIn({ notes: { norms } }: LoadedState): number[] | null {
    if (norms === undefined) return null
    const values = norms.split(' ').map(Number)
    const count = this.#options.scope === 'global' ? 1 : this.#matrices.length
    if (values.length === count && values.join(' ') === norms) return values
    throw new RangeError(`"state": notes: norms: expected ${count} numbers, got ${norms}`)
  }

  rearrange(layout: Layout, step: number): void {
    this.#full.rearrange(layout, step)
  }
}
