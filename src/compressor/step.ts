// One step of one worker, from the gradient to the update: drives the algorithm's generator, and
// remembers the open round and the frame sent in it. State that outlives the step is in
// worker-state.ts.

import type {
  Algorithm,
  Finish,
  Incoming,
  Outgoing,
  StepContext,
  StepGenerator,
} from '../algorithm.ts'
import type { Gradient, Host, Layout, Session, Sink, Tensor } from '../backend.ts'
import type { Bytes } from '../bytes.ts'
import type { Header } from '../codec/header.ts'
import { sumOfSquares } from '../codec/wire/f32.ts'
import { RoundError } from '../errors.ts'
import { isPromise, type Task, wait } from '../gensync.ts'
import { type Framing, nextParent, withBasis } from './framing.ts'

/**
 * Why a worker sent nothing in a step.
 *
 *   null      `compress` was called without gradients
 *   weight    the gradient had weight 0
 *   gradient  an element of M was not finite, or not below 2¹⁰⁰
 *   factors   a value to send was not finite
 */
export type Absence = 'null' | 'weight' | 'gradient' | 'factors'

/** Whose gradients are in the update, as the last mean of the step says. */
export interface Outcome {
  /** true: this worker's own gradient is in the update */
  readonly counted: boolean
  /** the workers whose gradients are, ascending; empty if the mean names none (`fromPayload`) */
  readonly senders: readonly number[]
  /** the sum of their weights; 0: the update is zero (with half-steps, that of the last round) */
  readonly weight: number
}

/** The parts of the worker that a step uses; `WorkerState` provides them. */
export interface StepSetup {
  readonly session: Session
  readonly host: Host
  readonly framing: Framing
  readonly algorithm: Algorithm
  readonly layout: Layout
  /** the step's number */
  readonly number: number
  /** the hash of all means before this step */
  readonly parent: Uint8Array
  /** true: an uncompressed step, which sends float32 whatever the wire type */
  readonly exact: boolean
}

/**
 * Gradients of a method without `accepts`, which `WorkerState.checkGradients` has found to be
 * tensors.
 */
type Tensors = readonly Tensor[]

/** One step in progress. Its methods are called in the order `begin`, `receive` …, `finish`. */
export class Step {
  readonly #setup: StepSetup
  readonly #weight: number
  #generator: StepGenerator | null = null
  #sent: Header | null = null
  #finish: Finish | null = null
  #outgoing: Outgoing | null = null
  #gradients: readonly Gradient[] | null = null
  #round = 0
  #parent: Uint8Array
  #absence: Absence | null = null
  #outcome: Outcome | null = null
  #updateNorm: number | null = null

  /** @param weight  the weight of the gradient, a float32 */
  constructor(setup: StepSetup, weight: number) {
    this.#setup = setup
    this.#weight = weight
    this.#parent = setup.parent
  }

  /** The round whose mean is awaited. */
  get round(): number {
    return this.#round
  }

  /** The hash of all means so far, those of this step included. */
  get parent(): Uint8Array {
    return this.#parent
  }

  /** Why this worker sends nothing; null if it takes part. */
  get absence(): Absence | null {
    return this.#absence
  }

  /** Set when the last mean has been received; null before. */
  get outcome(): Outcome | null {
    return this.#outcome
  }

  /** The ranks of the next step, if this one changes them; known with the last mean. */
  get ranks(): readonly number[] | undefined {
    return this.#finish?.ranks
  }

  /** ‖update‖₂, known with the last mean; null before. */
  get updateNorm(): number | null {
    return this.#updateNorm
  }

  /** Adds the gradient to M, and returns the first frame. */
  *begin(gradients: readonly Gradient[] | null): Task<Bytes> {
    const { algorithm, session } = this.#setup
    this.#absence = gradients === null ? 'null' : this.#weight === 0 ? 'weight' : null
    if (this.#absence === null) this.#gradients = gradients
    const context = this.#context()
    algorithm.prepare(context)
    if (this.#gradients) {
      const taken = algorithm.take
        ? algorithm.take(context, this.#gradients)
        : session.accumulateProject(this.#gradients as Tensors)
      if (!(yield* wait(taken))) {
        this.#gradients = null
        this.#absence = 'gradient'
      }
    }
    this.#generator = algorithm.step(context)
    const frame = (yield* this.#advance(undefined))!
    this.#gradients = null // from now on the caller may overwrite them
    return frame
  }

  /** Takes the mean of the open round; returns the next frame, or null after the last round. */
  *receive(mean: Uint8Array): Task<Bytes | null> {
    const { layout, framing, algorithm, parent } = this.#setup
    const outgoing = this.#outgoing!
    const { frame, parts, counted } = framing.receive(mean, this.#sent!, outgoing)
    const { weight, scalars } = frame
    const values = frame.kind === 'gathered' ? frame.values.subarray(0, 0) : frame.values
    // A mean of weight 0 does not enter the history, and the step's earlier means leave it again.
    if (weight > 0) this.#parent = nextParent(this.#parent, frame)
    else if (!algorithm.incremental) this.#parent = parent
    this.#round++
    const next = yield* this.#advance({ values, parts, scalars, weight, counted })
    if (next === null) {
      this.#outcome = { counted, senders: [...frame.senders], weight }
      // If P̂ is orthonormal, ‖P̂·Q̄ᵀ‖ = ‖Q̄‖. The mean of raw values, which are last, is their
      // update.
      const { squares } = this.#finish!
      const rawBytes = endsWithRaw(outgoing) ? 4 * layout.rawFloats : 0
      const from = squares === null ? 0 : values.length - rawBytes
      this.#updateNorm = Math.sqrt((squares ?? 0) + sumOfSquares(values.subarray(from)))
    }
    return next
  }

  /** Subtracts from the residual what has been sent and counted, and writes the update. */
  *finish(sink: Sink | null): Task<Outcome> {
    const { framing, session, exact } = this.#setup
    const { settle, raw } = this.#finish!
    yield* wait(settle(sink))
    if (this.#outcome!.counted && !raw && endsWithRaw(this.#outgoing!)) {
      framing.settleRaw(session, exact)
    }
    return this.#outcome!
  }

  /** Runs the algorithm up to its next frame, which is returned, or to its end: null. */
  *#advance(incoming: Incoming | undefined): Task<Bytes | null> {
    let reply: unknown = incoming
    for (;;) {
      const { done, value } = this.#generator!.next(reply)
      if (done) {
        // A generator that has thrown is done too, but has not returned a Finish.
        if (value === undefined) throw new RoundError('receive: this step has failed: abort it')
        this.#finish = value
        return null
      }
      if (!isPromise(value)) return yield* this.#frame(value)
      reply = yield value
    }
  }

  /** The frame of the open round, of weight 0 and without sender if this worker is absent. */
  *#frame(outgoing: Outgoing): Task<Bytes> {
    const { framing, session, layout, algorithm, number, exact } = this.#setup
    const { basis } = outgoing
    if (basis) this.#parent = withBasis(this.#parent, basis)
    const position = { step: number, round: this.#round, parent: this.#parent }
    const weight = this.#absence === null ? this.#weight : 0
    let frame = yield* framing.send(session, layout, outgoing, position, weight, exact)
    if (frame === null) {
      // A value overflows. In the first round the gradient can still be subtracted from M. Later it
      // stays in the residual, as if the frame had been lost.
      this.#absence = 'factors'
      if (this.#gradients) {
        const withdrawn = algorithm.withdraw
          ? algorithm.withdraw(this.#context())
          : session.withdraw(this.#gradients as Tensors)
        yield* wait(withdrawn)
      }
      frame = (yield* framing.send(session, layout, outgoing, position, 0, exact))!
    }
    this.#outgoing = outgoing
    this.#sent = frame.header
    return frame.bytes
  }

  #context(): StepContext {
    const { session, host, layout, number, algorithm } = this.#setup
    const absence = () => this.#absence
    const gradients = () => (algorithm.take ? null : (this.#gradients as Tensors | null))
    return {
      session,
      host,
      layout,
      step: number,
      get gradients() {
        return gradients()
      },
      get present() {
        return absence() === null
      },
    }
  }
}

function endsWithRaw(outgoing: Outgoing): boolean {
  return 'slots' in outgoing && outgoing.slots.at(-1) === 'raw'
}
