// The facade of one worker: its steps, and what may be called when.
// For programs whose `lib` does not have Symbol.dispose: the declaration files keep this line.
/// <reference lib="esnext.disposable" preserve="true" />

import type { Dense, Gradient, Tensor } from '../backend.ts'
import { DeviceLostError, RoundError, UnsupportedError } from '../errors.ts'
import { runAsync, runSync, type Task } from '../gensync.ts'
import { show } from '../validate.ts'
import type { Absence, Outcome, Step } from './step.ts'
import type { WorkerState } from './worker-state.ts'

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

/** One worker's compressor; made by `createCompressor`. */
export class Compressor {
  readonly #state: WorkerState
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

  constructor(workerState: WorkerState) {
    this.#state = workerState
  }

  /**
   * Begins a step: compresses one gradient into the frame of its first round.
   *
   * The gradient is only read. What earlier steps lost goes in with it. If their sum is not finite
   * or has an element of 2¹⁰⁰ or more, this worker is absent from the step: the gradient is not
   * taken, and zeros of weight 0 are sent.
   *
   * @param gradients  one array per parameter, in the order of `shapes`, or what else the backend or
   *   the method takes: `GpuTensor`, `Factored`; null to follow the step without contributing
   * @param options.weight  of this gradient in the mean: its number of samples, say; ≥ 0, rounded
   *   to float32. 0 is the same as null. Default 1.
   * @returns the frame to exchange: fresh bytes, the caller's to keep
   * @throws RangeError, TypeError  if the arrays do not fit the shapes
   * @throws RoundError  if the last step was neither decompressed nor aborted
   */
  compress(
    gradients: readonly Gradient[] | null,
    options: { weight?: number } = {},
  ): Promise<Uint8Array> {
    return runAsync(this.#exclusive(this.#compress(gradients, options)))
  }

  /** `compress` for hosts that cannot await. @throws UnsupportedError  unless on wasm */
  compressSync(
    gradients: readonly Gradient[] | null,
    options: { weight?: number } = {},
  ): Uint8Array {
    return this.#now(this.#compress(gradients, options))
  }

  *#compress(
    gradients: readonly Gradient[] | null,
    options: { weight?: number },
  ): Task<Uint8Array> {
    this.#expect('idle', 'compress')
    const { weight = 1 } = anObject(options)
    const w = weightOf(weight)
    if (gradients !== null) this.#state.checkGradients(gradients)
    const step = this.#state.begin(w)
    const frame = yield* step.begin(gradients)
    this.#open = step
    this.#updateNorm = null
    if (step.absence === null) this.#state.sent(w)
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
    return runAsync(this.#exclusive(this.#receive(mean)))
  }

  /** `receive` for hosts that cannot await. @throws UnsupportedError  unless on wasm */
  receiveSync(mean: Uint8Array): Uint8Array | null {
    return this.#now(this.#receive(mean))
  }

  *#receive(mean: Uint8Array): Task<Uint8Array | null> {
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
  decompress(into: readonly Tensor[] | null, options: DecompressOptions = {}): Promise<Outcome> {
    return runAsync(this.#exclusive(this.#decompress(into, options)))
  }

  /** `decompress` for hosts that cannot await. @throws UnsupportedError  unless on wasm */
  decompressSync(into: readonly Tensor[] | null, options: DecompressOptions = {}): Outcome {
    return this.#now(this.#decompress(into, options))
  }

  *#decompress(into: readonly Tensor[] | null, options: DecompressOptions): Task<Outcome> {
    const step = this.#expect('received', 'decompress')
    const { scale = 1, accumulate = false } = anObject(options)
    if (into !== null) this.#state.check(into, 'into')
    if (typeof scale !== 'number' || !Number.isFinite(Math.fround(scale))) {
      throw new RangeError(`"scale": expected a finite number, got ${show(scale)}`)
    }
    const outcome = yield* step.finish(into === null ? null : { into, scale, accumulate })
    if (outcome.counted) this.#counted++
    else if (step.absence === null) this.#missed++
    this.#end(step, step.parent, step.ranks)
    return outcome
  }

  /**
   * A whole step over one exchange: compress, receive until the last mean, decompress.
   * If `exchange` fails, the step stays open: `receive` the mean later, or `abort`.
   *
   * @param gradients  as for `compress`
   * @param exchange  sends a frame, and resolves to the mean of all workers' frames
   * @param options.into  where the update goes; default: over the gradients, if they are tensors all
   */
  async step(
    gradients: readonly Gradient[] | null,
    exchange: (frame: Uint8Array) => Uint8Array | PromiseLike<Uint8Array>,
    options: DecompressOptions & { weight?: number; into?: readonly Tensor[] | null } = {},
  ): Promise<Outcome> {
    const { weight = 1, into = gradients as readonly Tensor[] | null, ...how } = options
    if (into !== null) this.#state.check(into, 'into')
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
    this.#explaining(() => this.#end(step))
  }

  #end({ absence }: Step, parent?: Uint8Array, ranks?: readonly number[]): void {
    if (absence !== null) this.#absent[absence]++
    this.#open = null
    this.#state.end(parent, ranks)
  }

  /**
   * ‖update‖₂ over all parameters, for clipping: known once the last mean has been received, and
   * until the next step; null otherwise.
   */
  get updateNorm(): number | null {
    return this.#updateNorm
  }

  /**
   * With `resident: true`, the arrays inside the backend's memory, one per parameter: write gradients
   * there, and give these very arrays to `compress` and `decompress`, which then copy nothing. What
   * they hold is the caller's; zeros at first.
   *
   * `setRank` and `join` may enlarge the memory, and so may `decompress` with methods that raise ranks by
   * themselves: read this again after them, for older arrays may be empty then.
   *
   * @throws TypeError  without that option
   * @throws RoundError  after `dispose`
   */
  get gradients(): readonly Dense[] {
    if (this.#disposed) throw new RoundError('gradients: this compressor has been disposed of')
    const { gradients } = this.#state
    if (gradients !== null) return gradients
    throw new TypeError('"gradients": expected { resident: true }, and a backend that has them')
  }

  /** @internal For `createSgd`. */
  get state(): WorkerState {
    return this.#state
  }

  /** @internal Runs what `createSgd` has to do on the session. */
  runExclusive<T>(call: string, work: () => Task<T>): Promise<T> {
    const expect = () => this.#disposed && this.#expect('idle', call)
    return runAsync(
      this.#exclusive(
        (function* () {
          expect()
          return yield* work()
        })(),
      ),
    )
  }

  get stats(): Stats {
    return {
      step: this.#state.number,
      round: this.#phase === 'open' ? this.#open!.round : null,
      ranks: this.#state.ranks,
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
  save(options: { residual?: boolean } = {}): Promise<Uint8Array> {
    return this.#between('save', () => this.#state.save(anObject(options).residual ?? true))
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
    this.#explaining(() => this.#state.join(state))
  }

  /**
   * Adds a leaver's residual, times its weight over the own, to the own: nothing that it still had
   * to send is lost. The weights are those of each one's last gradient.
   *
   * @throws RangeError  if the state is of other shapes or options, or without residual
   * @throws RoundError  in the middle of a step
   */
  adopt(state: Uint8Array): Promise<void> {
    return this.#between('adopt', () => this.#state.adopt(state))
  }

  /**
   * Changes ranks from the next step on; all workers must do so before the same step. What pays is
   * decided anew. Of the factors stays what carried most in the last step, and further columns are
   * drawn; a tensor that becomes raw sends its residual whole, with its gradient.
   *
   * @param rank  for all parameters without one of their own, or one for each; 0: raw
   * @throws RoundError  in the middle of a step
   */
  setRank(rank: number | readonly number[]): void {
    this.#refuseOverlap()
    this.#expect('idle', 'setRank')
    this.#explaining(() => this.#state.setRank(rank))
  }

  /**
   * Multiplies the residual: it is in the units of the gradient, so it must follow when those
   * change (a loss scale, say). 0 drops what was pending.
   *
   * @throws RangeError  if a float32 might overflow
   * @throws RoundError  in the middle of a step
   */
  rescaleResidual(factor: number): Promise<void> {
    return this.#between('rescaleResidual', () => this.#state.rescale(factor))
  }

  /**
   * ‖residual‖₂ over all parameters: what is pending.
   *
   * @throws RoundError  in the middle of a step
   */
  residualNorm(): Promise<number> {
    return this.#between('residualNorm', () => this.#state.norm())
  }

  /** Gives memory back. Every later call raises a RoundError. */
  dispose(): void {
    if (this.#disposed) return
    this.#refuseOverlap()
    this.#disposed = true
    this.#open = null
    this.#state.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** One call at a time: what has to wait must not be overtaken. */
  *#exclusive<T>(work: Task<T>): Task<T> {
    this.#refuseOverlap()
    this.#busy = true
    try {
      return yield* work
    } catch (error) {
      throw this.#explained(error)
    } finally {
      this.#busy = false
    }
  }

  /** Runs what waits for nothing. */
  #explaining(work: () => void): void {
    try {
      work()
    } catch (error) {
      throw this.#explained(error)
    }
  }

  /** A lost device's error also says what has been saved. */
  #explained(error: unknown): unknown {
    return error instanceof DeviceLostError ? this.#state.lost(error) : error
  }

  /** Runs a call that needs to lie between two steps. */
  #between<T>(call: string, work: () => Task<T>): Promise<T> {
    const expect = () => this.#expect('idle', call)
    return runAsync(
      this.#exclusive(
        (function* () {
          expect()
          return yield* work()
        })(),
      ),
    )
  }

  /** Runs a call to its end at once; refused before it begins where that cannot be. */
  #now<T>(work: Task<T>): T {
    this.#refuseOverlap()
    if (!this.#state.synchronous) {
      throw new UnsupportedError(
        'this backend works asynchronously: call the method without "Sync"',
      )
    }
    return runSync(this.#exclusive(work))
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
      open: `step ${this.#state.number} awaits the mean of round ${this.#open?.round}: receive it, or abort`,
      received: `step ${this.#state.number} has its last mean: call decompress`,
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
