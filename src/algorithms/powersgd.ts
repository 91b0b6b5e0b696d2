// PowerSGD in full steps. Each step is one power iteration that starts from the last step's Q; both
// of its products, P and Q, are averaged over the workers. Vogels, Karimireddy, Jaggi 2019 (arXiv
// 1905.13727), Algorithm 1 with the error feedback of Algorithm 2. The residual is taken from the
// worker's own Q, or from the mean Q̄ with `errorFeedback: 'aggregated'`.

import type {
  Algorithm,
  Finish,
  Incoming,
  LoadedState,
  Outgoing,
  SharedState,
  StepContext,
  StepGenerator,
} from '../algorithm.ts'
import type { Host, Layout, MaybePromise, Session, Side, Sink, Slot } from '../backend.ts'
import { bytesOf } from '../bytes.ts'
import { wait } from '../gensync.ts'
import { gatedRanks, leftColumns, rawLengths, rightColumns } from '../layout.ts'
import { leadingColumns } from '../linalg/rayleigh-ritz.ts'
import type { AlgorithmSetup, Gate, Method, Round, Settings, SharedOptions } from '../options.ts'
import { chooseDeflation, keepRawDeviation, keepsNothing, rawDeviationOf } from './feedback.ts'

/** Deviations from the paper that reproduce other programs. No user option selects them. */
export interface Variant {
  /** true: Q̂ is the starting Q itself, not an orthonormal basis of it */
  readonly qAsIs?: boolean
  /** computes P̂ in place of `Host.orthonormalize`; its P̂ need not be orthonormal */
  readonly basis?: {
    /**
     * Turns P̄ into P̂.
     *
     * @param left  P̄ on entry and P̂ on return: a left arena, changed in place
     * @param weight  the sum of the weights in the mean P̄, > 0
     */
    make(layout: Layout, left: Float32Array, weight: number): void
    /**
     * ‖P̂·Q̄ᵀ‖²
     *
     * @param left  P̂, a left arena; only read
     * @param right  Q̄, a right arena; only read
     */
    squares(layout: Layout, left: Float32Array, right: Float32Array): number
  }
  /**
   * true: with `errorFeedback: 'aggregated'`, raw parameters keep M − mean as their residual.
   * Otherwise they keep only the encoding error of their wire type.
   */
  readonly rawDeviation?: boolean
}

/** The shared options that full steps support. */
export const FULL_STEP_OPTIONS = [
  'rank',
  'seed',
  'iterations',
  'minCompressionRate',
  'startCompressingAfter',
  'warmStart',
  'refresh',
  'errorFeedback',
  'orthonormalize',
] as const satisfies (keyof SharedOptions)[]

/** PowerSGD in full steps: the default method. */
export const powerSgd: Method = {
  name: 'powersgd',
  supportedOptions: FULL_STEP_OPTIONS,
  gate: gateOf,
  ranks: (specs, settings, wanted) => gatedRanks(specs, settings, wanted, gateOf(settings)),
  cycle: (layout, settings) => [fullRounds(layout, settings)],
  create: (setup) => new FullStep(setup),
}

/** The number of floats that the factors of one matrix take in a full step. */
export function costOf({ iterations }: Settings) {
  return (rows: number, cols: number, rank: number) => iterations * rank * (rows + cols)
}

/** The gate of full steps. */
export function gateOf(settings: Settings): Gate {
  return { cost: costOf(settings) }
}

/**
 * The rounds of a full step: for each iteration P, then Q. The last round also carries the raw
 * parameters, after Q. Without matrices there is one round, with the raw parameters.
 */
export function fullRounds(layout: Layout, { iterations }: Settings): Round[] {
  if (layout.matrices.length === 0) return [{ kind: 'summed', columns: rawLengths(layout) }]
  return Array.from({ length: iterations }, (_, k): Round[] => [
    { kind: 'summed', columns: leftColumns(layout) },
    {
      kind: 'summed',
      columns: [...rightColumns(layout), ...(k === iterations - 1 ? rawLengths(layout) : [])],
    },
  ]).flat()
}

/**
 * The full step. It keeps the Q that the next step starts from, the same on every worker. Methods
 * that differ in part extend it or contain one.
 */
export class FullStep implements Algorithm {
  /** the Q that the next step starts from, before it is orthonormalized: a right arena */
  #q: Float32Array = new Float32Array(0)
  // Scratch, allocated once for a layout: Q̂, a right arena, and P̄, then P̂, a left arena.
  #qHat = new Float32Array(0)
  #pHat = new Float32Array(0)
  // Scratch: M − mean of the raw parameters, from the last round until the step is settled. Empty
  // unless they keep it (see `rawDeviation`).
  #deviation = new Float32Array(0)
  #layout: Layout
  readonly #setup: AlgorithmSetup
  readonly #host: Host
  readonly #settings: Settings
  readonly #variant: Variant

  constructor(setup: AlgorithmSetup, variant: Variant = {}) {
    const { host, layout, settings, loaded, step } = setup
    this.#setup = setup
    this.#host = host
    this.#settings = settings
    this.#variant = variant
    this.#layout = layout
    this.load(layout, loaded, step)()
  }

  get shared(): SharedState {
    return { right: this.#q, left: new Float32Array(0), notes: {} }
  }

  prepare(context: StepContext): void {
    if (context.layout.matrices.length > 0) this.#computeQHat(context, bytesOf(this.#q))
  }

  /**
   * Computes Q̂ and writes it into the slot `qHat`.
   *
   * @param q  the starting Q: the bytes of a right arena
   */
  #computeQHat({ session, host, layout, step }: StepContext, q: Uint8Array): void {
    const qHat = bytesOf(this.#qHat)
    qHat.set(q)
    if (!this.#variant.qAsIs) host.orthonormalize(layout, 'right', this.#qHat, step)
    session.write('qHat', qHat)
  }

  *step(context: StepContext): StepGenerator {
    const { session, layout, step } = context
    const { iterations } = this.#settings
    let q: Incoming
    if (layout.matrices.length === 0) {
      q = (yield { slots: ['raw'] }) as Incoming
      return yield* this.#finish(session, q.counted, q.values, null)
    }
    for (let k = 1; ; k++) {
      yield* this.leftRound(context)
      if (context.present) yield* wait(this.backproject(context, this.#pHat))
      if (k === iterations) break
      q = (yield this.#outgoing(['qLocal'])) as Incoming
      this.#computeQHat(context, q.values)
      if (context.present) yield* wait(this.project(context, this.#qHat))
    }
    // The raw parameters travel with the last Q, so that one set of senders counts for both.
    q = (yield this.#outgoing(['qLocal', 'raw'])) as Incoming
    const qMean = q.values.subarray(0, 4 * layout.rightFloats)
    const raw = q.values.subarray(4 * layout.rightFloats)
    session.write('qMean', qMean)
    chooseDeflation(session, this.#settings, qMean)
    const finish = yield* this.#finish(session, q.counted, raw, this.#squares(layout, qMean))
    if (q.weight > 0) this.#prepareNextQ(qMean, step + 1)
    return finish
  }

  /**
   * The end of a step whose slots hold P̂, Q̄ and the Q to subtract from M.
   *
   * @param raw  the mean of the raw parameters, as bytes
   * @param squares  ‖P̂·Q̄ᵀ‖²; null: it is ‖Q̄‖²
   */
  *#finish(
    session: Session,
    counted: boolean,
    raw: Uint8Array,
    squares: number | null,
  ): Generator<Promise<unknown>, Finish, unknown> {
    const deflate = counted && !keepsNothing(this.#settings)
    const settle = (sink: Sink | null) => session.settle(deflate, raw, sink)
    const deviation = this.#deviation
    if (!counted || deviation.length === 0) return { settle, squares }
    return yield* keepRawDeviation(session, { settle, squares }, deviation, raw)
  }

  /** Q̂ of this step, a right arena. `prepare` sets it. */
  protected get qHat(): Float32Array {
    return this.#qHat
  }

  /**
   * left ← M·Q̂
   *
   * @param _qHat  Q̂, which the slot `qHat` holds, too; for subclasses
   */
  protected project({ session }: StepContext, _qHat: Float32Array): MaybePromise<void> {
    return session.project()
  }

  /**
   * qLocal ← Mᵀ·P̂
   *
   * @param _pHat  P̂, which the slot `left` holds, too; for subclasses
   */
  protected backproject({ session }: StepContext, _pHat: Float32Array): MaybePromise<void> {
    return session.backproject()
  }

  /**
   * A frame of slots computed from P̂. A device may give P̂ other bits on each worker, so its bits
   * then join the history that frames carry.
   */
  #outgoing(slots: readonly Slot[]): Outgoing {
    return this.#settings.orthonormalize === 'device' ? { slots, basis: this.#pHat } : { slots }
  }

  /** ‖P̂·Q̄ᵀ‖²; null if P̂ is orthonormal, for then it is ‖Q̄‖². */
  #squares(layout: Layout, qMean: Uint8Array): number | null {
    const { basis } = this.#variant
    if (!basis) return null
    bytesOf(this.#qHat).set(qMean) // Q̂ is no longer needed in this step
    return basis.squares(layout, this.#pHat, this.#qHat)
  }

  /** Sends P, receives P̄, and leaves P̂ in `#pHat` and in the slot `left`. */
  protected *leftRound({
    session,
    host,
    layout,
    step,
  }: StepContext): Generator<Outgoing | Promise<unknown>, void, unknown> {
    const p = (yield { slots: ['left'] }) as Incoming
    const pHat = bytesOf(this.#pHat)
    pHat.set(p.values)
    if (this.#settings.orthonormalize === 'device') {
      session.write('left', pHat)
      yield* wait(session.orthonormalize!(this.#settings.seed, step))
      yield* wait(session.read(['left'], this.#pHat))
      return
    }
    // At total weight 0 P̄ is zero. A variant's basis would return zeros, and Q̄ would never
    // recover; `orthonormalize` replaces zero columns.
    const { basis } = this.#variant
    if (basis && p.weight > 0) basis.make(layout, this.#pHat, p.weight)
    else host.orthonormalize(layout, 'left', this.#pHat, step)
    session.write('left', pHat)
  }

  /**
   * Computes the Q that step `step` starts from.
   *
   * @param qMean  Q̄ of the step before, as bytes
   */
  #prepareNextQ(qMean: Uint8Array, step: number): void {
    const { warmStart, refresh } = this.#settings
    if (warmStart === false || (refresh > 0 && step % refresh === 0)) {
      for (const matrix of this.#layout.matrices) {
        this.#host.fill(matrix, 'right', this.#q, 0, step)
      }
    } else if (warmStart === true) bytesOf(this.#q).set(qMean)
  }

  load(layout: Layout, loaded: LoadedState, step: number): () => void {
    return this.#replaced(layout, loadFactors(this.#setup, layout, 'right', loaded, step))
  }

  rearrange(layout: Layout, step: number): () => void {
    const q = new Float32Array(layout.rightFloats)
    for (const matrix of layout.matrices) {
      const old = this.#layout.parameters[matrix.index]!
      const kept = Math.min(old.rank, matrix.rank)
      const columns = this.#q.subarray(old.right, old.right + old.rank * old.cols)
      // Only a warm-started Q tells which directions carry most of the gradient. The columns of a
      // drawn Q are all alike, so the first ones stay.
      const leading =
        this.#settings.warmStart === true ? leadingColumns(columns, old.cols, kept) : columns
      q.set(leading.subarray(0, kept * old.cols), matrix.right)
      this.#host.fill(matrix, 'right', q, kept, step)
    }
    return this.#replaced(layout, q)
  }

  /** A function that replaces the factors and the scratch by these. */
  #replaced(layout: Layout, q: Float32Array): () => void {
    const qHat = new Float32Array(layout.rightFloats)
    const pHat = new Float32Array(layout.leftFloats)
    const deviation = rawDeviationOf(layout, this.#settings, this.#variant.rawDeviation)
    return () => {
      this.#layout = layout
      this.#q = q
      this.#qHat = qHat
      this.#pHat = pHat
      this.#deviation = deviation
    }
  }
}

/**
 * One factor of each matrix, as a checkpoint has it, or drawn if it does not.
 *
 * @returns a left or right arena
 * @throws RangeError  as `refuseClaims`
 */
export function loadFactors(
  setup: AlgorithmSetup,
  layout: Layout,
  side: Side,
  loaded: LoadedState,
  step: number,
): Float32Array {
  refuseClaims(setup, layout, loaded[side])
  const factors = new Float32Array(layout[`${side}Floats`])
  for (const matrix of layout.matrices) {
    const stored = loaded[side][matrix.index]
    if (stored) factors.set(stored, matrix[side])
    else setup.host.fill(matrix, side, factors, 0, step)
  }
  return factors
}

/**
 * Refuses a checkpoint that claims a rank but has no factor of it: a few bytes must not cost the
 * work of thousands of columns.
 *
 * @param stored  the factors that the checkpoint has, by the parameter's index
 * @param known  ranks that are right without a factor, too, beside those of the options
 * @throws RangeError
 */
export function refuseClaims(
  { specs, settings }: AlgorithmSetup,
  { matrices }: Layout,
  stored: LoadedState['right'] = [],
  known: readonly number[] = [],
): void {
  const most = settings.method.ranks(specs, settings, settings.rank)
  for (const { index, rank } of matrices) {
    if (stored[index] || rank <= Math.max(most[index]!, known[index] ?? 0)) continue
    throw new RangeError(
      `"checkpoint": ranks: ${rank} for parameter ${index}, without its factors: expected at ` +
        `most ${most[index]}, as the options say: create the compressor with that rank`,
    )
  }
}
