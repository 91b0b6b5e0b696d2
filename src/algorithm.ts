// What the algorithms are to the rest: steps that say what to send, and are told what came.
// They see sessions and hosts, never frames or sockets.
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
 * What a worker sends in a round, one of:
 *
 *   slots     their values, in this order, to be averaged
 *   summed    values of the algorithm's own, to be averaged
 *   gathered  words and values that every worker gets from every other
 *
 * A worker that is absent sends zeros in place of what is averaged, and nothing where it is gathered.
 */
export type Outgoing = (
  | { readonly slots: readonly Slot[] }
  | { readonly summed: Columns }
  | { readonly gathered: Gathering }
) & {
  /** a few float32 for the header, to be averaged by weight; as many from every worker */
  readonly scalars?: Float32Array
  /** what values were computed with that may differ between workers: it joins their history */
  readonly basis?: Float32Array
}

/** What it receives: the mean over the senders' frames, or their parts. */
export interface Incoming {
  /**
   * Little-endian float32 at any alignment, as many as were sent; zeros if nobody's frame is in
   * it. Valid until the step is over. Of a round that is gathered: empty.
   */
  readonly values: Uint8Array
  /** of a round that is gathered: by sender, ascending */
  readonly parts: readonly Part[]
  /** the means; zeros if nobody's frame is in it */
  readonly scalars: Float32Array
  /** the sum of the senders' weights; 0: nobody's frame is in it */
  readonly weight: number
  /** true: this worker's own frame is in it */
  readonly counted: boolean
}

/** How a step ends. */
export interface Finish {
  /** Takes from M what has been sent, and hands the update to the sink if there is one. */
  settle(sink: Sink | null): MaybePromise<void>
  /**
   * ‖update‖², without the raw values if the last frame ended with the slot `raw`; null: it is Σ x²
   * over what the last mean says of the rest.
   */
  readonly squares: number | null
  /** true: `settle` has seen to the residual of raw parameters, too */
  readonly raw?: boolean
  /** in force from the next step on; the same on every worker, so of what all have received */
  readonly ranks?: readonly number[]
}

/** What an algorithm is lent for one step. */
export interface StepContext {
  readonly session: Session
  readonly host: Host
  readonly layout: Layout
  /** the step's number */
  readonly step: number
  /**
   * what M takes in after `prepare`, the caller's: until the first frame has been yielded; null:
   * nothing, or not by the session but by `take`
   */
  readonly gradients: readonly Tensor[] | null
  /** false: this worker sends nothing in this step, or nothing any more */
  readonly present: boolean
}

/**
 * One step as a generator: it yields what to send, is resumed with the mean of what all sent, and
 * returns how the step ends. It also yields promises, to be resumed with what they resolve to, so
 * that one text serves hosts that can await and hosts that cannot. The gradient has been
 * accumulated, and projected on the slot `query`, before it begins.
 */
export type StepGenerator = Generator<Outgoing | Promise<unknown>, Finish, unknown>

/** What a method keeps between steps, the same on every worker: a checkpoint has it, and joiners get it. */
export interface SharedState {
  /** factors, a right arena of the plan: `q/<i>`; empty: none */
  readonly right: Float32Array
  /** factors, a left arena of the plan: `p/<i>`; empty: none */
  readonly left: Float32Array
  /** anything else, by name */
  readonly notes: Readonly<Record<string, string>>
}

/** What a checkpoint has of it: one array per parameter, null where there is none. */
export interface LoadedState {
  readonly right: readonly (Float32Array | null)[]
  readonly left: readonly (Float32Array | null)[]
  readonly notes: Readonly<Record<string, string>>
}

/** A method at work: what it keeps between steps, and how a step goes. */
export interface Algorithm {
  readonly shared: SharedState
  /** true: each round's mean counts by itself, whatever becomes of the others of its step */
  readonly incremental?: boolean
  /**
   * Writes the slot `query` that a step begins with, before the gradient is taken in.
   *
   * @throws  what refuses the gradient: then nothing has changed
   */
  prepare(turn: StepContext): void
  /**
   * In place of the session's `accumulateProject`, for methods that take factored gradients; then
   * there is `withdraw`, too. Where nothing is kept (`errorFeedback: 'none'`), it must leave M of
   * matrices alone.
   *
   * @param gradients  the caller's, until the first frame has been yielded
   * @returns false if this worker cannot take part; M is as it was before
   * @throws RangeError  if they are not what was agreed upon; nothing has changed then
   */
  take?(turn: StepContext, gradients: readonly Gradient[]): MaybePromise<boolean>
  /** Takes the last `take` back. */
  withdraw?(turn: StepContext): MaybePromise<void>
  step(turn: StepContext): StepGenerator
  /**
   * Takes factors and notes from elsewhere; draws factors that are absent.
   *
   * @throws RangeError  naming the note that cannot be; nothing has changed then
   */
  load(layout: Layout, loaded: LoadedState, step: number): void
  /** Adapts to new ranks: keeps what it can. */
  rearrange(layout: Layout, step: number): void
}
