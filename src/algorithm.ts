// The interface of algorithms: generators that yield what to send and are resumed with what came.
// They know sessions and hosts, but neither frames nor sockets.
import type {
  Gradient,
  Host,
  Layout,
  MaybePromise,
  Session,
  Sink,
  Slot,
  Tensor,
} from './backend.ts'
import type { Columns, Gathering, Part } from './codec/gathered.ts'

/**
 * The content of the frame that a worker sends in a round, one of:
 *
 *   slots     the values of these slots of the session, in this order, to be averaged
 *   summed    values that the algorithm stores itself, to be averaged
 *   gathered  words and values that every worker receives from every other worker
 *
 * A worker that is absent from the step sends zeros for values that are averaged, and no part if
 * the round is gathered.
 */
export type Outgoing = (
  | { readonly slots: readonly Slot[] }
  | { readonly summed: Columns }
  | { readonly gathered: Gathering }
) & {
  /** float32 for the frame's header, averaged by weight; every worker sends equally many */
  readonly scalars?: Float32Array
  /**
   * Numbers that the values depend on and that may differ between workers, such as a P̂ computed on
   * a device. They are hashed into the frame's `parent`, so that only equal ones are averaged.
   */
  readonly basis?: Float32Array
}

/** The result of a round: the mean of the senders' frames, or their parts. */
export interface Incoming {
  /**
   * The mean, as many values as were sent: little-endian float32 at any alignment. Zeros if
   * `weight` is 0; empty if the round is gathered. Valid until the step is over.
   */
  readonly values: Uint8Array
  /** of a gathered round: the senders' parts, ascending by sender. Otherwise empty */
  readonly parts: readonly Part[]
  /** the means of the scalars; zeros if `weight` is 0 */
  readonly scalars: Float32Array
  /** the sum of the senders' weights; 0 if nobody sent anything */
  readonly weight: number
  /** true: this worker's own frame is part of the mean */
  readonly counted: boolean
}

/** The end of a step, once its last mean has been received. */
export interface Finish {
  /** Subtracts from M what has been sent, and writes the update to the sink unless it is null. */
  settle(sink: Sink | null): MaybePromise<void>
  /**
   * ‖update‖². If the last frame ended with the slot `raw`, without its values, which the caller
   * adds. null: it is Σ x² over the other values of the last mean.
   */
  readonly squares: number | null
  /** true: `settle` updates the residual of raw parameters as well */
  readonly raw?: boolean
  /** the ranks from the next step on, computed from received means so that all workers agree */
  readonly ranks?: readonly number[]
}

/** The arguments of an algorithm in one step. */
export interface StepContext {
  readonly session: Session
  readonly host: Host
  readonly layout: Layout
  /** the number of the step */
  readonly step: number
  /**
   * The caller's gradients, which M takes in after `prepare`; valid until the first frame has been
   * yielded. null if this worker contributes none, or if the algorithm has a `take` of its own.
   */
  readonly gradients: readonly (Tensor | null)[] | null
  /** false: this worker sends nothing in this step, or nothing in the rest of it */
  readonly present: boolean
}

/**
 * One step as a generator. It yields what to send, is resumed with an `Incoming`, and returns a
 * `Finish`. It may also yield promises, to be resumed with their values, so that the same code
 * serves `compress` and `compressSync`. Before it starts, the session has added the gradient to M
 * and multiplied M by the slot `qHat` (or `take` has done its work).
 */
export type StepGenerator = Generator<Outgoing | Promise<unknown>, Finish, unknown>

/**
 * State that an algorithm keeps between steps, equal on all workers. `save` writes it, `join` reads
 * it.
 */
export interface SharedState {
  /** right factors, a right arena of the layout (`q/<i>` in a checkpoint); may be empty */
  readonly right: Float32Array
  /** left factors, a left arena of the layout (`p/<i>` in a checkpoint); may be empty */
  readonly left: Float32Array
  /** anything else, as text by name */
  readonly notes: Readonly<Record<string, string>>
}

/** The `SharedState` in a checkpoint: a factor per parameter, null for each that is absent. */
export interface LoadedState {
  readonly right: readonly (Float32Array | null)[]
  readonly left: readonly (Float32Array | null)[]
  readonly notes: Readonly<Record<string, string>>
}

/** An algorithm of one compressor, with the state that it keeps between steps. */
export interface Algorithm {
  readonly shared: SharedState
  /** true: the mean of each round takes effect by itself, even if later rounds of the step fail */
  readonly incremental?: boolean
  /**
   * Writes the slot `qHat` before the gradient is added to M.
   *
   * @throws  if the gradient is refused; then nothing has changed
   */
  prepare(context: StepContext): void
  /**
   * Takes the gradients in, in place of `Session.accumulateProject`: for methods that take factored
   * gradients. With `errorFeedback: 'none'` it must not change M of matrices. An algorithm with
   * `take` also has `withdraw`.
   *
   * @param gradients  the caller's, valid until the first frame has been yielded; null: zeros
   * @returns false if this worker cannot take part in the step; M is then unchanged
   * @throws RangeError  if the gradients do not fit what was agreed upon; nothing has changed then
   */
  take?(context: StepContext, gradients: readonly (Gradient | null)[]): MaybePromise<boolean>
  /** Undoes the last `take`. */
  withdraw?(context: StepContext): MaybePromise<void>
  step(context: StepContext): StepGenerator
  /**
   * Makes the state that a checkpoint describes: its factors and notes. Factors that are absent are
   * drawn, unless their rank is higher than the options give.
   *
   * @returns a function that puts the new state in the place of the old one, and cannot fail
   * @throws RangeError  naming what is not valid; nothing has changed then
   */
  load(layout: Layout, loaded: LoadedState, step: number): () => void
  /**
   * Adapts the factors to new ranks, and keeps as much of them as fits.
   *
   * @returns as `load`
   */
  rearrange(layout: Layout, step: number): () => void
}
