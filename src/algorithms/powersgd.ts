// PowerSGD, full step: one power iteration from the last step's Q, its two products averaged over
// the workers. Vogels, Karimireddy, Jaggi 2019 (arXiv 1905.13727), Algorithm 1 with the feedback of
// Algorithm 2: the residual is taken from the worker's own Q, or from the mean if asked to.

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
import type { Host, Layout, MaybePromise, Session, Sink, Slot } from '../backend.ts'
import { bytesOf } from '../bytes.ts'
import { wait } from '../gensync.ts'
import { gatedRanks, leftColumns, rawLengths, rightColumns } from '../layout.ts'
import { leadingColumns } from '../linalg/rayleigh-ritz.ts'
import type { AlgorithmSetup, Method, Round, Settings, SharedOptions } from '../options.ts'
import { chooseDeflation, deflates, keepRawDeviation, rawDeviationOf } from './feedback.ts'

/** What other programs do otherwise, and no option asks for. */
export interface Variant {
  /** Q̂ is the factors as they are. */
  readonly asIs?: boolean
  /** P̂ in place of the host's basis; it need not be orthonormal. */
  readonly basis?: {
    /** @param left  P̄, a left arena: in place @param weight  of the mean, > 0 */
    make(layout: Layout, left: Float32Array, weight: number): void
    /** ‖P̂·Q̄ᵀ‖² */
    squares(layout: Layout, left: Float32Array, right: Float32Array): number
  }
  /** Aggregated feedback is for raw parameters, too: they keep M − mean. Else they keep nothing. */
  readonly rawDeviation?: boolean
}

/** The shared options that mean something to full steps. */
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

/** The method that is used if none is asked for. */
export const powerSgd: Method = {
  name: 'powersgd',
  supportedOptions: FULL_STEP_OPTIONS,
  ranks: (specs, settings, wanted) =>
    gatedRanks(specs, settings, wanted, { cost: costOf(settings) }),
  cycle: (layout, settings) => [fullRounds(layout, settings)],
  create: (setup) => new FullStep(setup),
}

/** Floats that a matrix takes in a full step. */
export function costOf({ iterations }: Settings) {
  return (rows: number, cols: number, rank: number) => iterations * rank * (rows + cols)
}

/** What a full step sends. */
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

export class FullStep implements Algorithm {
  /** the right factors that the next step begins with, not yet orthonormal */
  #factors = new Float32Array(0)
  // Scratch, made once: Q̂ and P̂ while the host works on them.
  #right = new Float32Array(0)
  #left = new Float32Array(0)
  // What raw parameters keep, if anything: until the step is settled.
  #deviation = new Float32Array(0)
  #layout: Layout
  readonly #host: Host
  readonly #settings: Settings
  readonly #variant: Variant

  constructor({ host, layout, settings, loaded, step }: AlgorithmSetup, manners: Variant = {}) {
    this.#host = host
    this.#settings = settings
    this.#variant = manners
    this.#layout = layout
    this.load(layout, loaded, step)
  }

  get shared(): SharedState {
    return { right: this.#factors, left: new Float32Array(0), notes: {} }
  }

  prepare(context: StepContext): void {
    if (context.layout.matrices.length > 0) this.#query(context, bytesOf(this.#factors))
  }

  /** Makes Q̂ of right factors. */
  #query({ session, host, layout, step }: StepContext, factors: Uint8Array): void {
    const right = bytesOf(this.#right)
    right.set(factors)
    if (!this.#variant.asIs) host.orthonormalize(layout, 'right', this.#right, step)
    session.write('qHat', right)
  }

  *step(context: StepContext): StepGenerator {
    const { session, layout, step } = context
    const { iterations } = this.#settings
    let q: Incoming
    if (layout.matrices.length === 0) {
      q = (yield { slots: ['raw'] }) as Incoming
      return yield* this.#ending(session, q.counted, q.values, null)
    }
    for (let k = 1; ; k++) {
      yield* this.leftRound(context)
      if (context.present) yield* wait(this.backproject(context, this.#left))
      if (k === iterations) break
      q = (yield this.#outgoing(['qLocal'])) as Incoming
      this.#query(context, q.values)
      if (context.present) yield* wait(this.project(context, this.#right))
    }
    // Raw tensors travel last, so that one set of senders decides for them and the matrices alike.
    q = (yield this.#outgoing(['qLocal', 'raw'])) as Incoming
    const mean = q.values.subarray(0, 4 * layout.rightFloats)
    const raw = q.values.subarray(4 * layout.rightFloats)
    session.write('qMean', mean)
    chooseDeflation(session, this.#settings, mean)
    const ending = yield* this.#ending(session, q.counted, raw, this.#squares(layout, mean))
    if (q.weight > 0) this.#next(mean, step + 1)
    return ending
  }

  /** How a step ends whose slots have what they should. @param raw  the mean of raw parameters */
  *#ending(
    session: Session,
    counted: boolean,
    raw: Uint8Array,
    squares: number | null,
  ): Generator<Promise<unknown>, Finish, unknown> {
    const deflate = deflates(this.#settings, counted)
    const settle = (sink: Sink | null) => session.settle(deflate, raw, sink)
    const deviation = this.#deviation
    if (!counted || deviation.length === 0) return { settle, squares }
    return yield* keepRawDeviation(session, { settle, squares }, deviation, raw)
  }

  /** Q̂ of this step, from `prepare` on. */
  protected get query(): Float32Array {
    return this.#right
  }

  /** left ← M·Q̂ @param query  Q̂, which is in its slot, too */
  protected project({ session }: StepContext, _query: Float32Array): MaybePromise<void> {
    return session.project()
  }

  /** own ← Mᵀ·P̂ @param left  P̂, which is in its slot, too */
  protected backproject({ session }: StepContext, _left: Float32Array): MaybePromise<void> {
    return session.backproject()
  }

  /** What comes of P̂: with its bits, if others may have other ones. */
  #outgoing(slots: readonly Slot[]): Outgoing {
    return this.#settings.orthonormalize === 'device' ? { slots, basis: this.#left } : { slots }
  }

  /** ‖P̂·Q̄ᵀ‖², where it is not ‖Q̄‖². */
  #squares(layout: Layout, mean: Uint8Array): number | null {
    const { basis } = this.#variant
    if (!basis) return null
    bytesOf(this.#right).set(mean)
    return basis.squares(layout, this.#left, this.#right)
  }

  /** Sends P, receives P̄, and leaves P̂ in the session. */
  protected *leftRound({
    session,
    host,
    layout,
    step,
  }: StepContext): Generator<Outgoing | Promise<unknown>, void, unknown> {
    const p = (yield { slots: ['left'] }) as Incoming
    const left = bytesOf(this.#left)
    left.set(p.values)
    if (this.#settings.orthonormalize === 'device') {
      session.write('left', left)
      yield* wait(session.orthonormalize!(this.#settings.seed, step))
      yield* wait(session.read(['left'], this.#left))
      return
    }
    // Of nobody's P, Gram–Schmidt would make P̂ = 0, and so Q̄ = 0 for ever.
    const { basis } = this.#variant
    if (basis && p.weight > 0) basis.make(layout, this.#left, p.weight)
    else host.orthonormalize(layout, 'left', this.#left, step)
    session.write('left', left)
  }

  /** The factors that step `step` begins with. */
  #next(mean: Uint8Array, step: number): void {
    const { warmStart, refresh } = this.#settings
    if (warmStart === false || (refresh > 0 && step % refresh === 0)) {
      for (const matrix of this.#layout.matrices) {
        this.#host.fill(matrix, 'right', this.#factors, 0, step)
      }
    } else if (warmStart === true) bytesOf(this.#factors).set(mean)
  }

  load(layout: Layout, { right }: LoadedState, step: number): void {
    this.#resize(layout)
    for (const matrix of layout.matrices) {
      const given = right[matrix.index]
      if (given) this.#factors.set(given, matrix.right)
      else this.#host.fill(matrix, 'right', this.#factors, 0, step)
    }
  }

  rearrange(layout: Layout, step: number): void {
    const factors = new Float32Array(layout.rightFloats)
    for (const matrix of layout.matrices) {
      const old = this.#layout.parameters[matrix.index]!
      const kept = Math.min(old.rank, matrix.rank)
      const columns = this.#factors.subarray(old.right, old.right + old.rank * old.cols)
      // Where factors are always drawn, their lengths tell nothing of the gradient.
      const best =
        this.#settings.warmStart === true ? leadingColumns(columns, old.cols, kept) : columns
      factors.set(best.subarray(0, kept * old.cols), matrix.right)
      this.#host.fill(matrix, 'right', factors, kept, step)
    }
    this.#resize(layout)
    this.#factors.set(factors)
  }

  #resize(layout: Layout): void {
    this.#layout = layout
    this.#factors = new Float32Array(layout.rightFloats)
    this.#right = new Float32Array(layout.rightFloats)
    this.#left = new Float32Array(layout.leftFloats)
    this.#deviation = rawDeviationOf(layout, this.#settings, this.#variant.rawDeviation)
  }
}
