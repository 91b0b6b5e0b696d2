// One worker's compressor: what lives from step to step, and what may be called when.
import type { PowerSgd } from './algorithms/powersgd.ts'
import { bytesOf } from './bytes.ts'
import { hash64 } from './codec/xxh32.ts'
import { runAsync, runSync, type Waiting, wait } from './effects.ts'
import { RoundError, UnsupportedError } from './errors.ts'
import type { Framing } from './framing.ts'
import { integer, type Settings, show } from './options.ts'
import { checkArrays, layout, ranksOf, type Spec } from './plan.ts'
import type { Dense, Host, Plan, Session } from './seam.ts'
import { decodeState, encodeState } from './state.ts'
import { type Absence, type Outcome, Step } from './step.ts'

/** What has happened to a compressor so far. */
export interface Stats {
  /** the number of the open step, or of the next */
  readonly step: number
  /** the round whose mean is awaited; null between steps */
  readonly round: number | null
  /** in force: one per parameter, 0 where it travels raw */
  readonly ranks: readonly number[]
  /** steps in which this worker's gradient counted */
  readonly counted: number
  /** steps it was present in, but not in the last mean: its gradient is in the residual */
  readonly missed: number
  /** steps it sent nothing in, by reason */
  readonly absent: Readonly<Record<Absence, number>>
  readonly aborted: number
  /** of all frames made, and all means received */
  readonly bytesSent: number
  readonly bytesReceived: number
}

/** Where an update goes. */
export interface DecompressOptions {
  /** Factor of the update: −learningRate, say. Default 1. */
  readonly scale?: number
  /** true: add to what is there, instead of overwriting it. Default false. */
  readonly accumulate?: boolean
}

/** What a compressor is made of; `createCompressor` puts it together. */
export interface Parts {
  readonly specs: readonly Spec[]
  readonly settings: Settings
  readonly session: Session
  readonly host: Host
  readonly framing: Framing
  readonly algorithm: PowerSgd
  readonly plan: Plan
  readonly step: number
  readonly parent: Uint8Array
  readonly weight: number
}

/** Half the largest float32, about: what sums of two still are below. */
const MAX_RESIDUAL = 2 ** 127

/** One worker's compressor; made by `createCompressor`. */
export class Compressor {
  readonly #specs: readonly Spec[]
  readonly #settings: Settings
  readonly #session: Session
  readonly #host: Host
  readonly #framing: Framing
  readonly #algorithm: PowerSgd
  /** for steps that compress, and for those before `startCompressingAfter` */
  #plan: Plan
  readonly #rawPlan: Plan
  /** the one that the session is arranged for */
  #arranged: Plan
  /** the number of the open step, or of the next */
  #number: number
  #parent: Uint8Array
  /** of the last gradient that was sent */
  #weight: number
  #open: Step | null = null
  #updateNorm: number | null = null
  #busy = false
  #disposed = false

  #counted = 0
  #missed = 0
  #absent: Record<Absence, number> = { null: 0, weight: 0, gradient: 0, factors: 0 }
  #aborted = 0
  #bytesSent = 0
  #bytesReceived = 0

  constructor(parts: Parts) {
    this.#specs = parts.specs
    this.#settings = parts.settings
    this.#session = parts.session
    this.#host = parts.host
    this.#framing = parts.framing
    this.#algorithm = parts.algorithm
    this.#plan = parts.plan
    this.#arranged = parts.plan
    this.#rawPlan = layout(parts.specs, Array<number>(parts.specs.length).fill(0))
    this.#number = parts.step
    this.#parent = parts.parent
    this.#weight = parts.weight
    this.#framing.reserve(this.#plan)
  }

  /**
   * Begins a step: compresses one gradient into the frame of its first round.
   *
   * The gradient is only read. What earlier steps lost goes in with it. If their sum is not finite
   * or has an element of 2¹⁰⁰ or more, this worker is absent from the step: the gradient is not
   * taken, and zeros of weight 0 are sent.
   *
   * @param gradients  one array per parameter, in the order of `shapes`; null to follow the step
   *   without contributing
   * @param options.weight  of this gradient in the mean: its number of samples, say; ≥ 0, rounded
   *   to float32. 0 is the same as null. Default 1.
   * @returns the frame to exchange: fresh bytes, the caller's to keep
   * @throws RangeError, TypeError  if the arrays do not fit the shapes
   * @throws RoundError  if the last step was neither decompressed nor aborted
   */
  compress(
    gradients: readonly Dense[] | null,
    options: { weight?: number } = {},
  ): Promise<Uint8Array> {
    return runAsync(this.#alone(this.#compress(gradients, options)))
  }

  /** `compress` for hosts that cannot await. @throws UnsupportedError  unless on wasm */
  compressSync(gradients: readonly Dense[] | null, options: { weight?: number } = {}): Uint8Array {
    return this.#now(this.#compress(gradients, options))
  }

  *#compress(
    gradients: readonly Dense[] | null,
    options: { weight?: number },
  ): Waiting<Uint8Array> {
    this.#expect('idle', 'compress')
    const { weight = 1 } = anObject(options)
    const w = weightOf(weight)
    if (gradients !== null) checkArrays(gradients, this.#specs, 'gradients')
    const exact = this.#number < this.#settings.startCompressingAfter
    const plan = exact ? this.#rawPlan : this.#plan
    if (plan !== this.#arranged) {
      this.#session.replan(plan)
      this.#arranged = plan
    }
    const step = new Step(
      {
        session: this.#session,
        host: this.#host,
        framing: this.#framing,
        algorithm: this.#algorithm,
        plan,
        number: this.#number,
        parent: this.#parent,
        exact,
      },
      w,
    )
    const frame = yield* step.begin(gradients)
    this.#open = step
    this.#updateNorm = null
    if (step.absence === null) this.#weight = w
    this.#bytesSent += frame.length
    return frame
  }

  /**
   * Takes the mean of the open round. It may come late; all workers must be given the same bytes.
   *
   * @param mean  what `aggregate` made of the round's frames; at the last round, it must stay as it
   *   is until `decompress`
   * @returns the next round's frame, or null after the last: then `decompress`
   * @throws FrameError  if it is not the mean of this round; nothing has changed then
   * @throws RoundError  if no round is open
   */
  receive(mean: Uint8Array): Promise<Uint8Array | null> {
    return runAsync(this.#alone(this.#receive(mean)))
  }

  /** `receive` for hosts that cannot await. @throws UnsupportedError  unless on wasm */
  receiveSync(mean: Uint8Array): Uint8Array | null {
    return this.#now(this.#receive(mean))
  }

  *#receive(mean: Uint8Array): Waiting<Uint8Array | null> {
    const step = this.#expect('open', 'receive')
    const next = yield* step.receive(mean)
    this.#bytesReceived += mean.length
    this.#bytesSent += next?.length ?? 0
    this.#updateNorm = step.updateNorm
    return next
  }

  /**
   * Ends the step: writes the update, the weighted mean of all that was sent.
   *
   * @param into  one array per parameter, which may be the gradients' or, with `accumulate`, the
   *   parameters'; null to do without
   * @throws RoundError  before the last mean has been received
   */
  decompress(into: readonly Dense[] | null, options: DecompressOptions = {}): Promise<Outcome> {
    return runAsync(this.#alone(this.#decompress(into, options)))
  }

  /** `decompress` for hosts that cannot await. @throws UnsupportedError  unless on wasm */
  decompressSync(into: readonly Dense[] | null, options: DecompressOptions = {}): Outcome {
    return this.#now(this.#decompress(into, options))
  }

  *#decompress(into: readonly Dense[] | null, options: DecompressOptions): Waiting<Outcome> {
    const step = this.#expect('received', 'decompress')
    const { scale = 1, accumulate = false } = anObject(options)
    if (into !== null) checkArrays(into, this.#specs, 'into')
    if (typeof scale !== 'number' || !Number.isFinite(Math.fround(scale))) {
      throw new RangeError(`"scale": expected a finite number, got ${show(scale)}`)
    }
    const outcome = yield* step.finish(into === null ? null : { into, scale, accumulate })
    this.#parent = step.parent
    if (outcome.counted) this.#counted++
    else if (step.absence === null) this.#missed++
    this.#end(step)
    return outcome
  }

  /**
   * A whole step over one exchange: compress, receive until the last mean, decompress.
   * If `exchange` fails, the step stays open: `receive` the mean later, or `abort`.
   *
   * @param gradients  as for `compress`
   * @param exchange  sends a frame, and resolves to the mean of all workers' frames
   * @param options.into  where the update goes; default: over the gradients
   */
  async step(
    gradients: readonly Dense[] | null,
    exchange: (frame: Uint8Array) => Uint8Array | PromiseLike<Uint8Array>,
    options: DecompressOptions & { weight?: number; into?: readonly Dense[] | null } = {},
  ): Promise<Outcome> {
    const { weight = 1, into = gradients, ...how } = options
    if (into !== null) checkArrays(into, this.#specs, 'into')
    let frame: Uint8Array | null = await this.compress(gradients, { weight })
    while (frame) frame = await this.receive(await exchange(frame))
    return this.decompress(into, how)
  }

  /**
   * Gives the open step up. Its number is used; its gradient is in the residual now, and goes out
   * with the next step. Only for steps whose last mean nobody has: a worker that cannot know asks
   * the others for the means instead, and receives them late.
   *
   * @throws RoundError  if no step is open, or the last mean has been received
   */
  abort(): void {
    this.#refuseOverlap()
    const step = this.#expect('open', 'abort')
    this.#aborted++
    this.#end(step)
  }

  #end({ absence }: Step): void {
    if (absence !== null) this.#absent[absence]++
    if (this.#settings.errorFeedback === 'none') this.#session.scale('residual', 0)
    this.#open = null
    this.#number++
  }

  /**
   * ‖update‖₂ over all parameters, for clipping: known once the last mean has been received, and
   * until the next step; null otherwise.
   */
  get updateNorm(): number | null {
    return this.#updateNorm
  }

  get stats(): Stats {
    return {
      step: this.#number,
      round: this.#phase === 'open' ? this.#open!.round : null,
      ranks: this.#plan.parameters.map(({ rank }) => rank),
      counted: this.#counted,
      missed: this.#missed,
      absent: { ...this.#absent },
      aborted: this.#aborted,
      bytesSent: this.#bytesSent,
      bytesReceived: this.#bytesReceived,
    }
  }

  /**
   * The state between two steps as a safetensors file: factors, and the residual unless told not to.
   *
   * @throws RoundError  in the middle of a step
   */
  save({ residual = true }: { residual?: boolean } = {}): Promise<Uint8Array> {
    return runAsync(this.#alone(this.#save(residual)))
  }

  *#save(residual: boolean): Waiting<Uint8Array> {
    this.#expect('idle', 'save')
    return encodeState({
      specs: this.#specs,
      settings: this.#settings,
      step: this.#number,
      parent: this.#parent,
      weight: this.#weight,
      plan: this.#plan,
      factors: this.#algorithm.factors,
      residual: residual ? yield* this.#residual() : null,
    })
  }

  /**
   * Takes factors, step, ranks and parent from a peer's `save`, and keeps its own residual: how a
   * worker comes into a fleet, or back to it.
   *
   * @throws RangeError  if the state is of other shapes or options
   * @throws RoundError  in the middle of a step
   */
  join(state: Uint8Array): void {
    this.#refuseOverlap()
    this.#expect('idle', 'join')
    const read = decodeState(state, this.#specs, this.#settings)
    this.#plan = layout(this.#specs, read.ranks)
    this.#number = read.step
    this.#algorithm.load(this.#plan, read.factors, read.step)
    this.#parent = read.parent ?? hash64(bytesOf(this.#algorithm.factors))
    this.#framing.reserve(this.#plan)
  }

  /**
   * Adds a leaver's residual, times its weight over the own, to the own: nothing that it still had
   * to send is lost. The weights are those of each one's last gradient.
   *
   * @throws RangeError  if the state is of other shapes or options, or without residual
   * @throws RoundError  in the middle of a step
   */
  adopt(state: Uint8Array): Promise<void> {
    return runAsync(this.#alone(this.#adopt(state)))
  }

  *#adopt(state: Uint8Array): Waiting<void> {
    this.#expect('idle', 'adopt')
    const { residual, weight } = decodeState(state, this.#specs, this.#settings)
    if (!residual) throw new RangeError('"state": expected one with its residual')
    const own = yield* this.#residual()
    const factor = weight / this.#weight
    for (let i = 0; i < own.length; i++) {
      own[i] = own[i]! + factor * residual[i]!
      if (Math.abs(own[i]!) <= MAX_RESIDUAL) continue
      throw new RangeError(`"state": its residual times ${factor}, the ratio of weights, overflows`)
    }
    this.#session.write('residual', bytesOf(own))
  }

  /**
   * Changes ranks from the next step on; all workers must do so before the same step. What pays is
   * decided anew. Leading columns of the factors stay; a tensor that becomes raw sends its residual
   * whole, with its gradient.
   *
   * @param rank  for all parameters without one of their own, or one for each; 0: raw
   * @throws RoundError  in the middle of a step
   */
  setRank(rank: number | readonly number[]): void {
    this.#refuseOverlap()
    this.#expect('idle', 'setRank')
    if (typeof rank !== 'number') {
      if (!Array.isArray(rank) || rank.length !== this.#specs.length) {
        throw new RangeError(
          `"rank": expected a number or ${this.#specs.length} of them, got ${show(rank)}` +
            (Array.isArray(rank) ? ` of ${rank.length}` : ''),
        )
      }
      for (const [i, one] of rank.entries()) integer(`rank[${i}]`, one, 0, 65535)
    } else integer('rank', rank, 1, 65535)
    this.#plan = layout(this.#specs, ranksOf(this.#specs, this.#settings, rank))
    this.#algorithm.replan(this.#plan, this.#number)
    this.#framing.reserve(this.#plan)
  }

  /**
   * Multiplies the residual: it is in the units of the gradient, so it must follow when those
   * change (a loss scale, say). 0 drops what was pending.
   *
   * @throws RangeError  if a float32 might overflow
   * @throws RoundError  in the middle of a step
   */
  rescaleResidual(factor: number): Promise<void> {
    return runAsync(this.#alone(this.#rescaleResidual(factor)))
  }

  *#rescaleResidual(factor: number): Waiting<void> {
    this.#expect('idle', 'rescaleResidual')
    if (typeof factor !== 'number' || !Number.isFinite(Math.fround(factor))) {
      throw new RangeError(`"factor": expected a finite number, got ${show(factor)}`)
    }
    const norm = Math.sqrt(yield* wait(this.#session.norm()))
    if (norm * Math.abs(factor) > MAX_RESIDUAL) {
      throw new RangeError(`"factor": ${factor} times a residual of norm ${norm} might overflow`)
    }
    this.#session.scale('residual', factor)
  }

  /**
   * ‖residual‖₂ over all parameters: what is pending.
   *
   * @throws RoundError  in the middle of a step
   */
  residualNorm(): Promise<number> {
    return runAsync(this.#alone(this.#residualNorm()))
  }

  *#residualNorm(): Waiting<number> {
    this.#expect('idle', 'residualNorm')
    return Math.sqrt(yield* wait(this.#session.norm()))
  }

  /** Gives memory back. Every later call raises a RoundError. */
  dispose(): void {
    if (this.#disposed) return
    this.#refuseOverlap()
    this.#disposed = true
    this.#open = null
    this.#session.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  *#residual(): Waiting<Float32Array> {
    const values = new Float32Array(this.#plan.denseFloats)
    yield* wait(this.#session.read(['residual'], values))
    return values
  }

  /** One call at a time: what has to wait must not be overtaken. */
  *#alone<T>(work: Waiting<T>): Waiting<T> {
    this.#refuseOverlap()
    this.#busy = true
    try {
      return yield* work
    } finally {
      this.#busy = false
    }
  }

  /** Runs a call to its end at once; refused before it begins where that cannot be. */
  #now<T>(work: Waiting<T>): T {
    this.#refuseOverlap()
    if (!this.#session.synchronous) {
      throw new UnsupportedError(
        'this backend works asynchronously: call the method without "Sync"',
      )
    }
    return runSync(this.#alone(work))
  }

  #refuseOverlap(): void {
    if (this.#busy) throw new RoundError('another call of this compressor is still running')
  }

  get #phase(): 'idle' | 'open' | 'received' | 'disposed' {
    if (this.#disposed) return 'disposed'
    if (this.#open === null) return 'idle'
    return this.#open.outcome === null ? 'open' : 'received'
  }

  /** Checks that a call fits where the step is; returns the step if there is one. */
  #expect(phase: 'open' | 'received', call: string): Step
  #expect(phase: 'idle', call: string): void
  #expect(phase: 'idle' | 'open' | 'received', call: string): Step | null {
    if (this.#phase === phase) return this.#open
    const now = {
      idle: 'no step is open: call compress first',
      open: `step ${this.#number} awaits the mean of round ${this.#open?.round}: receive it, or abort`,
      received: `step ${this.#number} has its last mean: call decompress`,
      disposed: 'this compressor has been disposed of',
    }[this.#phase]
    throw new RoundError(`${call}: ${now}`)
  }
}

function anObject<T extends object>(options: T): T {
  if (typeof options === 'object' && options !== null) return options
  throw new TypeError(`"options": expected an object, got ${show(options)}`)
}

/** As frames carry it: sums of float32 come out exact in float64. */
function weightOf(weight: unknown): number {
  const rounded = typeof weight === 'number' ? Math.fround(weight) : Number.NaN
  const lost = rounded === 0 && weight !== 0
  if (!(rounded >= 0 && rounded < Number.POSITIVE_INFINITY) || lost) {
    throw new RangeError(`"weight": expected 0 or a positive float32, got ${show(weight)}`)
  }
  return Math.abs(rounded) // −0 is 0
}
