// The class Compressor, the interface of one worker: checks arguments and the order of calls.
// The next line stays in the declaration files, for programs whose `lib` lacks Symbol.dispose.
/// <reference lib="esnext.disposable" preserve="true" />

import type { Dense, Gradient, Layout, Sink, Tensor } from '../backend.ts'
import type { Bytes, BytesLike } from '../bytes.ts'
import { DeviceLostError, RoundError, UnsupportedError } from '../errors.ts'
import { runAsync, runSync, type Task } from '../gensync.ts'
import type { Rank } from '../options.ts'
import { aFloat, aFunction, bytesIn, flag, knownOptions, wrongValue } from '../validate.ts'
import type { Absence, Outcome, Step } from './step.ts'
import type { WorkerState } from './worker-state.ts'

/** Counters of a compressor since it was created, and where it is now. */
export interface Stats {
  /** the number of the open step; between steps, of the next one */
  readonly step: number
  /** the round whose mean is awaited; null if none is */
  readonly round: number | null
  /** the current rank of each parameter; 0: it travels uncompressed */
  readonly ranks: readonly Rank[]
  /** steps whose update contains this worker's gradient */
  readonly counted: number
  /**
   * steps in which it sent frames, but the last mean lacks its own: the residual has the gradient
   */
  readonly missed: number
  /** steps in which it sent nothing, by reason */
  readonly absent: Readonly<Record<Absence, number>>
  readonly aborted: number
  /**
   * steps in which it dropped its residual, because that had grown so large (norm ≥ 2⁶³) that no
   * gradient could be sent with it. Where memory follows the mean (`errorFeedback: 'aggregated'`,
   * `dion()`), frames of others can do that; a restored state can do it anywhere
   */
  readonly dropped: number
  /** bytes of all frames returned, and of all means received */
  readonly bytesSent: number
  readonly bytesReceived: number
}

/** Sends a frame, and returns the mean of all workers' frames of the round, or a promise of it. */
export type Exchange = (frame: Bytes) => BytesLike | PromiseLike<BytesLike>

/** How `decompress` writes the update. */
export interface DecompressOptions {
  /** A finite float32 that multiplies the update, −learningRate for example. Default 1. */
  readonly scale?: number
  /** true: adds to the contents of the arrays instead of overwriting them. Default false. */
  readonly accumulate?: boolean
}

/**
 * One worker's compressor; made by `createCompressor`. A step is `compress`, one `receive` for each
 * round, `decompress`; or all of it in one call, `step`.
 */
export class Compressor {
  readonly #worker: WorkerState
  #open: Step | null = null
  #updateNorm: number | null = null
  #busy = false
  #disposed = false
  /** thrown by every call but `dispose` once one has found the device lost */
  #lost: DeviceLostError | null = null

  readonly #counters = {
    counted: 0,
    missed: 0,
    aborted: 0,
    dropped: 0,
    bytesSent: 0,
    bytesReceived: 0,
  }
  readonly #absent: Record<Absence, number> = { null: 0, weight: 0, gradient: 0, factors: 0 }

  constructor(workerState: WorkerState) {
    this.#worker = workerState
  }

  /**
   * Begins a step: compresses the gradient into the frame of the first round.
   *
   * The gradient is only read. It is compressed together with the residual, which holds what
   * earlier steps could not send. If their sum M has an element that is not finite, or not below
   * 2¹⁰⁰ in absolute value, this worker is absent from the step: the gradient is not taken, and the
   * frame has zeros and weight 0.
   *
   * @param gradients  one array per parameter, in the order of `shapes`, each as long as the
   *   product of its shape; or `GpuTensor`s with the backend webgpu(), or `Factored` with methods
   *   of lowrank/factored. A null among them counts as zeros: this worker has none for that
   *   parameter in this step. null in place of all: this worker contributes no gradient, but
   *   follows the step. Gradients of frozen parameters are ignored
   * @param options.weight  the weight of this gradient in the mean, such as its number of samples:
   *   ≥ 0, rounded to float32. 0 means the same as `gradients: null`. Default 1
   * @returns the frame to send: new bytes, which the caller may keep
   * @throws TypeError, RangeError  if `gradients` or `weight` is not valid; nothing has changed
   *   then
   * @throws RoundError  if the last step has neither been decompressed nor aborted, or if another
   *   call is still running
   * @throws DeviceLostError  if the GPU is gone; every method that uses the backend may throw it
   */
  compress(
    gradients: readonly (Gradient | null)[] | null,
    options: { weight?: number } = {},
  ): Promise<Bytes> {
    return runAsync(this.#exclusive(this.#compress(gradients, options)))
  }

  /**
   * `compress` without a promise.
   *
   * @throws UnsupportedError  if the backend works asynchronously: wasm() does not, webgpu() does
   */
  compressSync(
    gradients: readonly (Gradient | null)[] | null,
    options: { weight?: number } = {},
  ): Bytes {
    return this.#now(this.#compress(gradients, options))
  }

  *#compress(
    gradients: readonly (Gradient | null)[] | null,
    options: { weight?: number },
  ): Task<Bytes> {
    this.#expect('idle', 'compress')
    this.#worker.checkNumber()
    const { weight = 1 } = knownOptions(options, ['weight'])
    const w = weightOf(weight)
    const step = this.#worker.begin(w) // first, for it may replace `this.gradients`
    if (gradients !== null) this.#worker.checkGradients(gradients)
    const frame = yield* step.begin(gradients)
    this.#open = step
    this.#updateNorm = null
    if (step.absence === null) this.#worker.sent(w)
    this.#counters.bytesSent += frame.length
    return frame
  }

  /**
   * Receives the mean of the open round. It may arrive at any later time. All workers must receive
   * the same bytes.
   *
   * @param mean  the result of `aggregate` over the frames of the round. Do not change the bytes of
   *   the last round's mean before `decompress`
   * @returns the frame of the next round; or null after the last round: then call `decompress`
   * @throws FrameError  if the bytes are not a mean of this round; nothing has changed then
   * @throws RoundError  if no round is open
   */
  receive(mean: BytesLike): Promise<Bytes | null> {
    return runAsync(this.#exclusive(this.#receive(mean)))
  }

  /** `receive` without a promise. @throws UnsupportedError  if the backend works asynchronously */
  receiveSync(mean: BytesLike): Bytes | null {
    return this.#now(this.#receive(mean))
  }

  *#receive(given: BytesLike): Task<Bytes | null> {
    const step = this.#expect('open', 'receive')
    const mean = bytesIn('mean', given)
    const next = yield* step.receive(mean)
    this.#counters.bytesReceived += mean.length
    this.#counters.bytesSent += next?.length ?? 0
    this.#updateNorm = step.updateNorm
    return next
  }

  /**
   * Ends the step: writes the update, P̂·Q̄ᵀ for each matrix and the mean for uncompressed
   * parameters, and takes what this worker has sent out of its residual.
   *
   * @param into  one array (or `GpuTensor`) per parameter, in the order of `shapes`: the gradients
   *   themselves, for example, or the parameters with `accumulate` and a `scale` of −learningRate.
   *   null: writes no update. A null among them: does not write that parameter's. The update of a
   *   frozen parameter is zero
   * @returns whose gradients are in the update
   * @throws TypeError, RangeError  if `into` or an option is not valid; nothing has changed then
   * @throws RoundError  if the last mean has not been received
   */
  decompress(
    into: readonly (Tensor | null)[] | null,
    options: DecompressOptions = {},
  ): Promise<Outcome> {
    return runAsync(this.#exclusive(this.#decompress(into, options)))
  }

  /**
   * `decompress` without a promise.
   *
   * @throws UnsupportedError  if the backend works asynchronously
   */
  decompressSync(
    into: readonly (Tensor | null)[] | null,
    options: DecompressOptions = {},
  ): Outcome {
    return this.#now(this.#decompress(into, options))
  }

  *#decompress(into: readonly (Tensor | null)[] | null, options: DecompressOptions): Task<Outcome> {
    const step = this.#expect('received', 'decompress')
    const sink = this.#sink(into, options)
    const newRanks = this.#worker.newRanks(step.ranks) // first, for it may fail
    const outcome = yield* step.finish(sink)
    if (outcome.counted) this.#counters.counted++
    else if (step.absence === null) this.#counters.missed++
    this.#end(step, step.parent, newRanks)
    return outcome
  }

  /**
   * Checks the arguments of `decompress`.
   *
   * @param lacking  false: entries of `into` may be null only for frozen parameters
   * @throws TypeError, RangeError
   */
  #sink(
    into: readonly (Tensor | null)[] | null,
    options: DecompressOptions,
    lacking = true,
  ): Sink | null {
    const { scale = 1, accumulate = false } = knownOptions(options, ['scale', 'accumulate'])
    if (into !== null) this.#worker.check(into, 'into', lacking)
    flag('accumulate', accumulate)
    aFloat('scale', scale)
    return into && { into, scale, accumulate }
  }

  /**
   * One whole step: `compress`, an exchange and a `receive` for each round, `decompress`.
   *
   * If `exchange` fails, the step stays open: `receive` its mean later, or `abort`.
   *
   * @param gradients  as for `compress`
   * @param exchange  sends a frame, and returns the mean of all workers' frames or a promise of it
   * @param options.weight  as for `compress`. Default 1
   * @param options.into  as for `decompress`. Default: `gradients`, which are overwritten with the
   *   update and must all be arrays or GPU tensors: a null is refused there, except of a frozen
   *   parameter, because its update would have nowhere to go
   * @returns whose gradients are in the update
   * @throws TypeError, RangeError  if an argument is not valid; nothing has changed then
   * @throws as `compress`, `receive` and `decompress`, and what `exchange` throws
   */
  async step(
    gradients: readonly (Gradient | null)[] | null,
    exchange: Exchange,
    options: DecompressOptions & { weight?: number; into?: readonly (Tensor | null)[] | null } = {},
  ): Promise<Outcome> {
    const known = ['weight', 'into', 'scale', 'accumulate']
    const { weight = 1, into: given, ...how } = knownOptions(options, known)
    const into = given === undefined ? (gradients as readonly (Tensor | null)[] | null) : given
    aFunction('exchange', exchange)
    this.#sink(into, how, given !== undefined)
    let frame: Bytes | null = await this.compress(gradients, { weight })
    while (frame) {
      const mean = await exchange(frame)
      frame = await this.receive(bytesIn('exchange', mean, "it to return the mean's bytes"))
    }
    return this.decompress(into, how)
  }

  /**
   * Gives up the open step. Its number counts as used. Its gradient remains in the residual, and is
   * sent with the next step.
   *
   * Abort only if no worker has the last mean of the step. A worker that cannot know this should
   * ask the others for the means, and receive them late.
   *
   * @throws RoundError  if no step is open, or if the last mean has been received
   */
  abort(): void {
    this.#immediately(() => {
      const step = this.#expect('open', 'abort')
      this.#counters.aborted++
      this.#end(step)
    })
  }

  #end({ absence, dropped }: Step, parent?: Uint8Array, newRanks?: (() => Layout) | null): void {
    if (dropped) this.#counters.dropped++
    if (absence !== null) this.#absent[absence]++
    this.#open = null
    this.#worker.end(parent, newRanks)
  }

  /**
   * ‖update‖₂ over all parameters, without `scale`: for clipping. Known from the last `receive` of
   * a step until the next `compress`; null otherwise.
   */
  get updateNorm(): number | null {
    return this.#updateNorm
  }

  /**
   * With `resident: true`, arrays in the backend's memory, one per parameter, for the caller to
   * write gradients into. `compress` and `decompress` do not copy if they are given these very
   * arrays. They contain zeros at first; afterwards only the caller and `decompress` write to them.
   *
   * `setRank` and `join` may replace the arrays, because they may enlarge the memory. `decompress`
   * may too, with methods that raise ranks by themselves. Read this property again after such a
   * call: the old arrays may be empty then. If there is no memory for ranks that were raised, the
   * next `compress` says so, and may replace the arrays once there is.
   *
   * @throws TypeError  if the compressor was created without `resident: true`, or its backend has
   *   no such arrays
   * @throws RoundError  after `dispose`
   */
  get gradients(): readonly Dense[] {
    if (this.#disposed) throw new RoundError('gradients: this compressor has been disposed of')
    const { gradients } = this.#worker
    if (gradients !== null) return gradients
    throw new TypeError('"gradients": expected { resident: true }, and a backend that has them')
  }

  /** @internal For `createSgd`. */
  get workerState(): WorkerState {
    return this.#worker
  }

  /** @internal For `createSgd`: runs work on the session, in any phase but 'disposed'. */
  runExclusive<T>(call: string, work: Task<T>): Promise<T> {
    return runAsync(this.#exclusive(work, () => this.#disposed && this.#expect('idle', call)))
  }

  /** Counters and the current position: a new object at each call. */
  get stats(): Stats {
    return {
      step: this.#worker.number,
      round: this.#phase === 'open' ? this.#open!.round : null,
      ranks: this.#worker.ranks,
      ...this.#counters,
      absent: { ...this.#absent },
    }
  }

  /**
   * Writes a checkpoint, for `restore`, `join` and `adopt`: a safetensors file with factors, ranks,
   * step and residual.
   *
   * @param options.residual  false: without the residual, as large as the model; enough for `join`.
   *   Default true
   * @returns new bytes, which the caller may keep
   * @throws RoundError  in the middle of a step
   */
  save(options: { residual?: boolean } = {}): Promise<Bytes> {
    return this.#between('save', this.#worker.save(options))
  }

  /**
   * Adopts factors, step, ranks and history of another worker, so that this one can join the
   * training, or rejoin it. It keeps its own residual.
   *
   * @param checkpoint  the bytes of the other worker's `save`
   * @throws TypeError, RangeError  if this is no checkpoint, or one of other shapes or options, or
   *   if there is no memory for its ranks; nothing has changed then
   * @throws RoundError  in the middle of a step
   */
  join(checkpoint: BytesLike): void {
    this.#immediately(() => {
      this.#expect('idle', 'join')
      this.#worker.join(checkpoint)
    })
  }

  /**
   * Adds the residual of a worker that leaves to the own residual, so that what it still had to
   * send is not lost. Its residual is multiplied by its weight ÷ the own weight; both are the
   * weights of the last gradient.
   *
   * @param checkpoint  the bytes of the other worker's `save`
   * @throws TypeError, RangeError  if this is no checkpoint, one of other shapes or options, or one
   *   without residual; or if a sum reaches 2¹⁰⁰. Nothing has changed then
   * @throws RoundError  in the middle of a step
   */
  adopt(checkpoint: BytesLike): Promise<void> {
    return this.#between('adopt', this.#worker.adopt(checkpoint))
  }

  /**
   * Changes the ranks from the next step on. All workers must make this call before the same step.
   *
   * Which matrices are worth compressing is decided again, by `minCompressionRate`. A smaller rank
   * keeps the directions of the factors that carried most in the last step; a larger one adds
   * random columns. A parameter that becomes uncompressed sends its whole residual with its next
   * gradient. One that becomes frozen does not travel until another call says otherwise; its
   * residual is dropped. It then begins with a zero residual and new random columns.
   *
   * @param rank  1 … 65534 for all parameters that have no `rank` in their `ParameterSpec`; or, for
   *   each parameter, 0 … 65534, where 0 means uncompressed, or 'frozen'; or 'frozen' for all. With
   *   methods that decide about ranks themselves, or have none, numbers must be those of `stats`, or
   *   the method's own for a parameter that has been frozen
   * @throws TypeError, RangeError  if `rank` is not valid, if the method has no such ranks, or if
   *   there is no memory for them; nothing has changed then
   * @throws RoundError  in the middle of a step
   */
  setRank(rank: Rank | readonly Rank[]): void {
    this.#immediately(() => {
      this.#expect('idle', 'setRank')
      this.#worker.setRank(rank)
    })
  }

  /**
   * Multiplies the residual by a number. The residual has the units of the gradient: rescale it
   * when these change, with a loss scale for example. The factor 0 discards what is pending.
   *
   * @param factor  a finite float32
   * @throws RangeError  if `factor` is not finite, or if the product might reach 2¹⁰⁰
   * @throws RoundError  in the middle of a step
   */
  rescaleResidual(factor: number): Promise<void> {
    return this.#between('rescaleResidual', this.#worker.rescale(factor))
  }

  /**
   * ‖residual‖₂ over all parameters: how much of earlier gradients has not been sent yet.
   *
   * @throws RoundError  in the middle of a step
   */
  residualNorm(): Promise<number> {
    return this.#between('residualNorm', this.#worker.norm())
  }

  /** Frees the memory. Later calls of other methods throw a RoundError. */
  dispose(): void {
    if (this.#disposed) return
    this.#refuseOverlap()
    this.#disposed = true
    this.#open = null
    this.#worker.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /**
   * Runs a task while no other call may run: a second call must not overtake one that waits.
   *
   * @param check  runs before the task; it throws if the call does not fit the phase
   */
  *#exclusive<T>(work: Task<T>, check?: () => void): Task<T> {
    this.#assertUsable()
    this.#busy = true
    try {
      check?.()
      return yield* work
    } catch (error) {
      throw this.#explain(error)
    } finally {
      this.#busy = false
    }
  }

  /** Runs work that never waits. */
  #immediately(work: () => void): void {
    this.#assertUsable()
    try {
      work()
    } catch (error) {
      throw this.#explain(error)
    }
  }

  /** Adds to a DeviceLostError what has been saved; returns other errors as they are. */
  #explain(error: unknown): unknown {
    if (!(error instanceof DeviceLostError)) return error
    this.#lost = this.#worker.lost(error)
    return this.#lost
  }

  #assertUsable(): void {
    this.#refuseOverlap()
    if (this.#lost && !this.#disposed) throw this.#lost
  }

  /** Runs a task that is allowed only between two steps. */
  #between<T>(call: string, work: Task<T>): Promise<T> {
    return runAsync(this.#exclusive(work, () => this.#expect('idle', call)))
  }

  /**
   * Runs a task synchronously.
   *
   * @throws UnsupportedError  before it starts, if the backend cannot
   */
  #now<T>(work: Task<T>): T {
    this.#refuseOverlap()
    if (!this.#worker.synchronous) {
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

  /**
   * Checks that a call is allowed in the current phase.
   *
   * @returns the open step, or null if the phase is 'idle'
   * @throws RoundError
   */
  #expect(phase: 'open' | 'received', call: string): Step
  #expect(phase: 'idle', call: string): void
  #expect(phase: 'idle' | 'open' | 'received', call: string): Step | null {
    if (this.#phase === phase) return this.#open
    const now = {
      idle: 'no step is open: call compress first',
      open: `step ${this.#worker.number} awaits the mean of round ${this.#open?.round}: receive it, or abort`,
      received: `step ${this.#worker.number} has its last mean: call decompress`,
      disposed: 'this compressor has been disposed of',
    }[this.#phase]
    throw new RoundError(`${call}: ${now}`)
  }
}

/** The weight rounded to float32, as frames carry it: float64 sums of such weights are exact. */
function weightOf(weight: unknown): number {
  const rounded = typeof weight === 'number' ? Math.fround(weight) : Number.NaN
  const underflows = rounded === 0 && weight !== 0
  if (!(rounded >= 0 && rounded < Number.POSITIVE_INFINITY) || underflows) {
    throw wrongValue('weight', '0 or a positive float32', weight)
  }
  return Math.abs(rounded) // −0 is 0
}
