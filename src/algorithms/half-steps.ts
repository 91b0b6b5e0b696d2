// PowerSGD in half-steps: each round sends one product, P and Q by turns. Its other factor is an
// orthonormal basis of the mean that the round before has produced. The authors' package
// (epfml/powersgd) and ACP-SGD (Zhang et al. 2023) do so. The error feedback is that of Algorithm 2
// of arXiv 1905.13727.
//
//   sends P   P = M·Q̂   update += P̄·Q̂ᵀ   M ← M − P·Q̂ᵀ   Q̂ = orthonormalize(the last Q̄)
//   sends Q   Q = Mᵀ·P̂  update += P̂·Q̄ᵀ   M ← M − P̂·Qᵀ   P̂ = orthonormalize(the last P̄)

import type {
  Algorithm,
  Incoming,
  LoadedState,
  Outgoing,
  SharedState,
  StepContext,
  StepGenerator,
} from '../algorithm.ts'
import type { Host, Layout, Session, Side, Sink } from '../backend.ts'
import { bytesOf } from '../bytes.ts'
import { quoted } from '../codec/safetensors.ts'
import { runTask, type Task, wait } from '../gensync.ts'
import { gatedRanks, leftColumns, otherSide, rawLengths, rightColumns } from '../layout.ts'
import { deduct, type Product, squaredNormOfProducts } from '../linalg/products.ts'
import { leadingColumns } from '../linalg/rayleigh-ritz.ts'
import type { AlgorithmSetup, Gate, Method, Round, Settings, SharedOptions } from '../options.ts'
import { takesNone } from '../validate.ts'
import { refuseAggregated } from './feedback.ts'
import { loadFactors } from './powersgd.ts'
import { wholeStep } from './uncompressed.ts'

/**
 * The shared options that half-steps support. `warmStart` is not among them: `refresh: 1` is its
 * `false`.
 */
export const HALF_STEP_OPTIONS = [
  'rank',
  'seed',
  'iterations',
  'minCompressionRate',
  'startCompressingAfter',
  'refresh',
  'errorFeedback',
] as const satisfies (keyof SharedOptions)[]

/**
 * PowerSGD in half-steps. A step has `iterations` half-steps, each in a round of its own, so that
 * by default one round a step is enough. Half-steps alternate between sending P and sending Q,
 * across steps too; the first sends P. A later half-step of a step compresses what the earlier ones
 * have left, so k half-steps make an update of rank ⌈k/2⌉·rank.
 *
 * The mean of each round counts by itself. A worker whose frame is not in it keeps what it sent
 * there. If no worker's frame is in it, the half-step has not happened: the factors and the side to
 * send stay as they were, and the next half-step tries the same again. The raw parameters and
 * `Outcome` follow the last round of the step. So `abort` is only for a worker none of whose frames
 * of this step is in a mean, or for all workers together.
 *
 * Two half-steps send as many floats as one full step. From the same Q̂ they also give the same
 * update.
 *
 * Defaults: those of the shared options. `errorFeedback: 'aggregated'` is refused with a
 * RangeError.
 *
 * Source: epfml/powersgd; ACP-SGD (Zhang et al. 2023); feedback of arXiv 1905.13727, Algorithm 2.
 */
export function halfSteps(...none: []): Method {
  takesNone(none)
  return {
    name: 'half-steps',
    supportedOptions: HALF_STEP_OPTIONS,
    check: refuseAggregated,
    gate,
    ranks: (specs, settings, wanted) => gatedRanks(specs, settings, wanted, gate(settings)),
    cycle: (layout, settings) => halfRounds(layout, settings),
    create: (setup) => new HalfStepAlgorithm(setup),
  }
}

function gate({ iterations }: Settings): Gate {
  return { cost: (rows, cols, rank) => (iterations * rank * (rows + cols)) / 2 }
}

/**
 * The rounds of the steps of one cycle. After an odd number of half-steps the next step begins with
 * the other side, so such a cycle has two steps.
 *
 * @param first  the factor that the first half-step of the cycle sends
 */
export function halfRounds(
  layout: Layout,
  { iterations }: Settings,
  first: SentFactor = 'P',
): Round[][] {
  const raw = rawLengths(layout)
  if (layout.matrices.length === 0) return [[{ kind: 'summed', columns: raw }]]
  const sides =
    first === 'P'
      ? [leftColumns(layout), rightColumns(layout)]
      : [rightColumns(layout), leftColumns(layout)]
  // After an odd number of half-steps, the next step begins with the other side.
  return Array.from({ length: iterations % 2 === 0 ? 1 : 2 }, (_, step) =>
    Array.from({ length: iterations }, (_, k): Round => {
      const columns = sides[(step + k) % 2]!
      return { kind: 'summed', columns: k === iterations - 1 ? [...columns, ...raw] : columns }
    }),
  )
}

/** Deviations that reproduce other programs. No user option selects them. */
export interface HalfStepVariant {
  /** the factor that the very first half-step sends. Default 'P' */
  readonly first?: SentFactor
  /**
   * Turns the mean of a factor into P̂ or Q̂ in place of `Host.orthonormalize`; the result need not
   * be orthonormal.
   *
   * @param columns  an arena of this side; changed in place
   */
  basis?(host: Host, layout: Layout, side: Side, columns: Float32Array, step: number): void
}

/** The factor that a half-step sends. */
export type SentFactor = 'P' | 'Q'

/**
 * One half-step: the product left·rightᵀ that this worker subtracts from M if its frame counts, and
 * the mean that came of it. One of the two factors is the worker's own, the other the same on every
 * worker.
 */
interface HalfStep extends Product {
  /** the side of the factor that is sent, which is the worker's own; the other one is P̂ or Q̂ */
  side: Side
  /** the mean of that factor over the workers; a view of `scratch` */
  mean: Float32Array
  /** the sum of the weights in the mean; 0: the half-step has not happened */
  weight: number
  /** true: this worker's own frame is in the mean */
  counted: boolean
  /** as many floats as the longer of the two arenas */
  readonly scratch: Float32Array
}

/**
 * The half-steps. It keeps the last mean of either side and the side to send next, the same on
 * every worker.
 */
export class HalfStepAlgorithm implements Algorithm {
  readonly incremental = true
  /**
   * the last mean of either side, not yet orthonormal. The next half-step starts from a basis of
   * the one that it does not send
   */
  #factors: Arenas = { left: new Float32Array(0), right: new Float32Array(0) }
  /** the side that the next half-step sends */
  #next: Side = 'left'
  /** the half-steps of the current step; scratch, allocated once for a layout */
  #halfSteps: HalfStep[] = []
  #layout: Layout
  readonly #setup: AlgorithmSetup
  readonly #host: Host
  readonly #settings: Settings
  readonly #variant: HalfStepVariant

  constructor(setup: AlgorithmSetup, variant: HalfStepVariant = {}) {
    const { host, layout, settings, loaded, step } = setup
    this.#setup = setup
    this.#host = host
    this.#settings = settings
    this.#variant = variant
    this.#layout = layout
    this.load(layout, loaded, step)()
  }

  get shared(): SharedState {
    return { ...this.#factors, notes: { next: this.#next === 'left' ? 'P' : 'Q' } }
  }

  prepare(context: StepContext): void {
    if (context.layout.matrices.length === 0) return
    const half = this.#halfSteps[0]!
    this.#beginHalfStep(half, this.#next, this.#factors[otherSide(this.#next)], context)
    if (half.side === 'left') context.session.write('qHat', bytesOf(half.right))
  }

  /**
   * Begins a half-step: computes the factor that is the same on every worker, P̂ or Q̂.
   *
   * @param side  the side that the half-step sends
   * @param from  the mean to compute a basis of: an arena of the other side
   */
  #beginHalfStep(
    half: HalfStep,
    side: Side,
    from: Float32Array,
    { host, layout, step }: StepContext,
  ): void {
    half.side = side
    half.mean = half.scratch.subarray(0, half[side].length)
    const basisOfMean = half[otherSide(side)]
    basisOfMean.set(from)
    const { basis } = this.#variant
    if (basis) basis(host, layout, otherSide(side), basisOfMean, step)
    else host.orthonormalize(layout, otherSide(side), basisOfMean, step)
  }

  *step(context: StepContext): StepGenerator {
    const { session, layout, step } = context
    if (layout.matrices.length === 0) return yield* wholeStep(context)
    let side = this.#next
    let from: Float32Array = this.#factors[otherSide(side)]
    let raw: Uint8Array = new Uint8Array(0)
    for (const [k, half] of this.#halfSteps.entries()) {
      if (k > 0) this.#beginHalfStep(half, side, from, context)
      const { values, weight, counted } = (yield* this.#send(context, k)) as Incoming
      bytesOf(half.mean).set(values.subarray(0, half.mean.byteLength))
      raw = values.subarray(half.mean.byteLength) // empty except in the last round
      half.weight = weight
      half.counted = counted
      if (weight === 0) continue
      from = half.mean
      side = otherSide(side)
    }
    const happened = this.#halfSteps.filter(({ weight }) => weight > 0)
    const means = happened.map(({ side, left, right, mean }) =>
      side === 'left' ? { left: mean, right } : { left, right: mean },
    )
    this.#next = side
    for (const { side, mean } of happened) this.#factors[side].set(mean)
    if (happened.length > 0) this.#refresh(step + 1)
    // After one half-step with an orthonormal P̂ or Q̂, ‖update‖ is the norm of the mean.
    const isNormOfMean = this.#halfSteps.length === 1 && !this.#variant.basis
    return {
      settle: (sink) =>
        runTask(settleAll(session, this.#halfSteps, raw, sink), session.synchronous),
      squares: isNormOfMean ? null : squaredNormOfProducts(layout, means),
    }
  }

  /**
   * Computes the factor of half-step k and sends it, the raw parameters with the last one. Yields
   * the frame and returns the mean of its round.
   */
  *#send(
    context: StepContext,
    k: number,
  ): Generator<Outgoing | Promise<unknown>, unknown, unknown> {
    const { session, layout, present } = context
    const half = this.#halfSteps[k]!
    const { side } = half
    const slot = side === 'left' ? 'left' : 'qLocal'
    if (side === 'right') {
      session.write('left', bytesOf(half.left))
      if (present) yield* wait(session.backproject())
    } else if (k > 0) {
      session.write('qHat', bytesOf(half.right))
      if (present) yield* wait(session.project())
    } // else the session projected M when it accumulated the gradient
    const last = k === this.#halfSteps.length - 1
    // M changes only when the step ends, so that the step can be aborted. Until then the products
    // of earlier half-steps are subtracted from the factor instead.
    const before = this.#halfSteps.slice(0, k).filter(({ counted }) => counted)
    if (present && (before.length > 0 || !last)) {
      yield* wait(session.read([slot], half[side]))
      deduct(layout, side, half[side], half[otherSide(side)], before)
      if (last) session.write(slot, bytesOf(half[side]))
    }
    if (last) return yield { slots: [slot, 'raw'] }
    const columns = side === 'left' ? leftColumns(layout) : rightColumns(layout)
    return yield { summed: { floats: half[side], columns } }
  }

  /** Draws new factors before step `step`, if `refresh` asks for it. */
  #refresh(step: number): void {
    const { refresh } = this.#settings
    if (refresh === 0 || step % refresh !== 0) return
    for (const matrix of this.#layout.matrices) {
      for (const side of SIDES) this.#host.fill(matrix, side, this.#factors[side], 0, step)
    }
  }

  load(layout: Layout, loaded: LoadedState, step: number): () => void {
    const { next = this.#variant.first ?? 'P' } = loaded.notes
    if (next !== 'P' && next !== 'Q') {
      throw new RangeError(`"checkpoint": notes: next: expected "P" or "Q", got ${quoted(next)}`)
    }
    const factorsOf = (side: Side) => loadFactors(this.#setup, layout, side, loaded, step)
    const replace = this.#replaced(layout, { left: factorsOf('left'), right: factorsOf('right') })
    return () => {
      replace()
      this.#next = next === 'P' ? 'left' : 'right'
    }
  }

  rearrange(layout: Layout, step: number): () => void {
    const [oldLayout, oldFactors] = [this.#layout, this.#factors]
    const factors = arenas(layout)
    for (const matrix of layout.matrices) {
      const { index, rows, cols, rank } = matrix
      const old = oldLayout.parameters[index]!
      const kept = Math.min(old.rank, rank)
      for (const side of SIDES) {
        const length = side === 'left' ? rows : cols
        const columns = oldFactors[side].subarray(old[side], old[side] + old.rank * length)
        const leading = leadingColumns(columns, length, kept).subarray(0, kept * length)
        factors[side].set(leading, matrix[side])
        this.#host.fill(matrix, side, factors[side], kept, step)
      }
    }
    return this.#replaced(layout, factors)
  }

  /** A function that replaces the factors and the scratch by these. */
  #replaced(layout: Layout, factors: Arenas): () => void {
    const halfSteps = Array.from({ length: this.#settings.iterations }, (): HalfStep => {
      const scratch = new Float32Array(Math.max(layout.leftFloats, layout.rightFloats))
      return { ...arenas(layout), side: 'left', mean: scratch, weight: 0, counted: false, scratch }
    })
    return () => {
      this.#layout = layout
      this.#factors = factors
      this.#halfSteps = halfSteps
    }
  }
}

/** A left and a right arena. */
type Arenas = Record<Side, Float32Array>

function arenas({ leftFloats, rightFloats }: Layout): Arenas {
  return { left: new Float32Array(leftFloats), right: new Float32Array(rightFloats) }
}

const SIDES = ['left', 'right'] as const satisfies Side[]

/**
 * Ends a step: subtracts from M the products of the half-steps that counted, and gives the sink the
 * sum of all means. The slots still hold the last half-step's own factor, so that one is settled
 * first.
 *
 * @param raw  the mean of the raw parameters, as bytes
 */
function* settleAll(
  session: Session,
  steps: readonly HalfStep[],
  raw: Uint8Array,
  sink: Sink | null,
): Task<void> {
  const last = steps.at(-1)!
  yield* settleHalfStep(session, last, raw, sink)
  const accumulating = sink && { ...sink, accumulate: true }
  for (const half of steps.slice(0, -1)) {
    if (half.weight === 0) continue
    session.write('left', bytesOf(half.left))
    if (half.side === 'right') session.write('qLocal', bytesOf(half.right))
    yield* settleHalfStep(session, half, null, accumulating)
  }
}

/**
 * Ends one half-step. If it sent Q, the slots `left` and `qLocal` must hold P̂ and the worker's Q;
 * if it sent P, the slot `left` must hold the worker's P.
 *
 * @param raw  the mean of the raw parameters, as bytes; null: leave them alone
 */
function* settleHalfStep(
  session: Session,
  { side, right, mean, counted }: HalfStep,
  raw: Uint8Array | null,
  sink: Sink | null,
): Task<void> {
  if (side === 'right') {
    session.write('qMean', bytesOf(mean))
    yield* wait(session.settle(counted, raw, sink))
    return
  }
  // `settle` takes one left factor for both of its products. When P was sent, they have the right
  // factor in common instead, so this takes two calls.
  if (counted) {
    session.write('qLocal', bytesOf(right))
    yield* wait(session.settle(true, null, null))
  }
  session.write('left', bytesOf(mean))
  session.write('qMean', bytesOf(right))
  yield* wait(session.settle(false, raw, sink))
}
