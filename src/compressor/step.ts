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
import { type Bytes, bytesOf } from '../bytes.ts'
import type { Header } from '../codec/header.ts'
import { sumOfSquares } from '../codec/wire/f32.ts'
import { LIMIT } from '../codec/wire/wire-type.ts'
import { RoundError } from '../errors.ts'
import { isPromise, type Task, wait } from '../gensync.ts'
import { type Framing, nextParent, withBasis } from './framing.ts'

/**
 * Why a worker sent nothing in a step.
 *
 *   null      `compress` was called without gradients
 *   weight    the gradient had weight 0
 *   gradient  an element of M was not finite, or not below 2¹⁰⁰
 *   factors   a value to send was not finite, or not below 2⁶⁴
 */
export type Absence = 'null' | 'weight' | 'gradient' | 'factors'

/** Whose gradients are in the update, as the last mean of the step says. */
export interface Outcome {
  /** true: this worker's own gradient is in the update */
  readonly counted: boolean
  /** the workers whose gradients are, ascending; empty if the mean names none (`fromPayload`) */
  readonly senders: readonly number[]
  /**
   * the workers whose part in a gathered round (`topK`, `dad` …) was of no use, because an index was
   * out of range, say: it counts as not sent, on every worker
   */
  readonly refused: readonly number[]
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
 * A residual with a norm that large, of one parameter, is dropped. Elements of factors are at most
 * the norm of M. So a gradient of a smaller norm can be sent without the residual, and need not be
 * with it.
 */
const MAX_NORM = LIMIT / 2

/**
 * Gradients of a method without `accepts`, which `WorkerState.checkGradients` has found to be
 * tensors.
 */
type Tensors = readonly (Tensor | null)[]

/** One step in progress. Its methods are called in the order `begin`, `receive` …, `finish`. */
export class Step {
  readonly #setup: StepSetup
  readonly #weight: number
  #generator: StepGenerator | null = null
  #sent: Header | null = null
  #finish: Finish | null = null
  #outgoing: Outgoing | null = null
  #gradients: readonly (Gradient | null)[] | null = null
  #round = 0
  #parent: Uint8Array
  #absence: Absence | null = null
  #outcome: Outcome | null = null
  #updateNorm: number | null = null
  #refusedLate = false
  #dropped = false
  /** the residual that this step has dropped, until its first frame has been made */
  #lately: Float32Array | null = null
  /** true: the gradient is in M, and can be taken out again */
  #taken = false
  /** true: the device failed after a mean had been taken in */
  #failed = false

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

  /** Whether the residual has been dropped: see `Stats.dropped`. */
  get dropped(): boolean {
    return this.#dropped
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
  *begin(gradients: readonly (Gradient | null)[] | null): Task<Bytes> {
    const { algorithm } = this.#setup
    this.#absence = gradients === null ? 'null' : this.#weight === 0 ? 'weight' : null
    if (this.#absence === null) this.#gradients = gradients
    const context = this.#context()
    algorithm.prepare(context)
    if (this.#gradients && !(yield* this.#take()) && !(yield* this.#takeWithoutResidual())) {
      this.#gradients = null
      this.#absence = 'gradient'
    }
    this.#generator = algorithm.step(context)
    try {
      return (yield* this.#advance(undefined))!
    } catch (error) {
      if (this.#taken) yield* this.#withdraw() // or the next try would add it once more
      throw error
    } finally {
      this.#lately = null
      this.#gradients = null // from now on the caller may overwrite them
    }
  }

  /** Adds the gradient to M. @returns false if it cannot be; M is then as before */
  *#take(): Task<boolean> {
    const { algorithm, session } = this.#setup
    this.#taken = yield* wait(
      algorithm.take
        ? algorithm.take(this.#context(), this.#gradients!)
        : session.accumulateProject(this.#gradients as Tensors),
    )
    return this.#taken
  }

  /** Undoes the last `#take` that has returned true. */
  #withdraw(): Task<void> {
    const { algorithm, session } = this.#setup
    this.#taken = false
    return wait(
      algorithm.withdraw
        ? algorithm.withdraw(this.#context())
        : session.withdraw(this.#gradients as Tensors),
    )
  }

  /**
   * Tries again without the residual, after M or what follows from it was too large.
   *
   * @returns false if the residual was not too large, or is not the only fault; it stays then
   */
  *#takeWithoutResidual(): Task<boolean> {
    const { session, layout } = this.#setup
    if (!(yield* this.#isTooLarge())) return false
    const residual = new Float32Array(layout.denseFloats)
    yield* wait(session.read(['residual'], residual))
    yield* this.#dropResidual()
    if (yield* this.#take()) {
      this.#lately = residual
      return true
    }
    this.#keepResidual(residual)
    return false
  }

  /** Whether the residual is too large to be sent with any gradient. */
  *#isTooLarge(): Task<boolean> {
    const squares = yield* wait(this.#setup.session.norms())
    return squares.some((square) => square >= MAX_NORM ** 2)
  }

  *#dropResidual(): Task<void> {
    yield* wait(this.#setup.session.scale('residual', 0))
    this.#dropped = true
  }

  /** Undoes `#dropResidual`. */
  #keepResidual(residual: Float32Array): void {
    this.#setup.session.write('residual', bytesOf(residual))
    this.#dropped = false
  }

  /** Takes the mean of the open round; returns the next frame, or null after the last round. */
  *receive(mean: Uint8Array): Task<Bytes | null> {
    const { layout, framing, algorithm, parent } = this.#setup
    const outgoing = this.#outgoing!
    if (this.#failed) throw new RoundError('receive: this step has failed: abort it')
    const received = framing.receive(mean, this.#sent!, outgoing)
    this.#failed = true
    const { frame, parts, counted, weight, senders, refused } = received
    const { scalars } = frame
    const values = frame.kind === 'gathered' ? frame.values.subarray(0, 0) : frame.values
    // A mean of weight 0 does not enter the history, and the step's earlier means leave it again.
    if (weight > 0) this.#parent = nextParent(this.#parent, frame)
    else if (!algorithm.incremental) this.#parent = parent
    this.#round++
    const next = yield* this.#advance({ values, parts, scalars, weight, counted })
    this.#failed = false
    if (next === null) {
      this.#outcome = { counted, senders, refused, weight }
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
    if (this.#refusedLate && (yield* this.#isTooLarge())) yield* this.#dropResidual()
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
    const { framing, session, layout, number, exact } = this.#setup
    const { basis } = outgoing
    if (basis) this.#parent = withBasis(this.#parent, basis)
    const position = { step: number, round: this.#round, parent: this.#parent }
    const weight = this.#absence === null ? this.#weight : 0
    let frame = yield* framing.send(session, layout, outgoing, position, weight, exact)
    if (frame === null && this.#gradients) {
      // A value is too large. In the first round the gradient can still be subtracted from M.
      yield* this.#withdraw()
      if (yield* this.#takeWithoutResidual()) {
        frame = yield* framing.send(session, layout, outgoing, position, weight, exact)
        if (frame === null) {
          yield* this.#withdraw()
          this.#keepResidual(this.#lately!)
        }
      }
    } else if (frame === null) {
      // Later it stays in the residual, as if the frame had been lost.
      this.#refusedLate = true
    }
    if (frame === null) {
      this.#absence = 'factors'
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
