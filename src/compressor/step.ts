// One step of one worker, from its gradient to its update. It knows which round is open and what
// the worker has sent in it; the compressor keeps what outlives it.

import type {
  Algorithm,
  Finish,
  Incoming,
  Outgoing,
  StepContext,
  StepGenerator,
} from '../algorithm.ts'
import type { Gradient, Host, Layout, MaybePromise, Session, Sink, Tensor } from '../backend.ts'
import type { Header } from '../codec/header.ts'
import { sumOfSquares } from '../codec/wire/f32.ts'
import { RoundError } from '../errors.ts'
import { type Task, wait } from '../gensync.ts'
import { type Framing, nextParent, withBasis } from './framing.ts'

/** Why a worker sent nothing in a step. */
export type Absence = 'null' | 'weight' | 'gradient' | 'factors'

/** How a step ended: what its last mean says. */
export interface Outcome {
  /** whether this worker's own gradient is in the update */
  readonly counted: boolean
  /** whose gradients are; empty if the mean names nobody */
  readonly senders: readonly number[]
  /** the sum of their weights; 0: the update is zero (of half-steps: the last one's) */
  readonly weight: number
}

/** What a step works with, and where it stands among the others. */
export interface StepSetup {
  readonly session: Session
  readonly host: Host
  readonly framing: Framing
  readonly algorithm: Algorithm
  readonly layout: Layout
  /** the step's number */
  readonly number: number
  /** hash of the history of means */
  readonly parent: Uint8Array
  /** send float32 whatever the wire: an uncompressed step */
  readonly exact: boolean
}

export class Step {
  readonly #ground: StepSetup
  readonly #weight: number
  #steps: StepGenerator | null = null
  #sent: Header | null = null
  #finish: Finish | null = null
  #outgoing: Outgoing | null = null
  #gradients: readonly Gradient[] | null = null
  #round = 0
  #parent: Uint8Array
  #absence: Absence | null = null
  #outcome: Outcome | null = null
  #updateNorm: number | null = null

  /** @param weight  of the gradient, a float32 */
  constructor(ground: StepSetup, weight: number) {
    this.#ground = ground
    this.#weight = weight
    this.#parent = ground.parent
  }

  /** The round whose mean is awaited. */
  get round(): number {
    return this.#round
  }

  /** The hash of the history, the means of this step included. */
  get parent(): Uint8Array {
    return this.#parent
  }

  get absence(): Absence | null {
    return this.#absence
  }

  /** Set by the last mean. */
  get outcome(): Outcome | null {
    return this.#outcome
  }

  /** Of the next step, if this one has decided about them: set by the last mean. */
  get ranks(): readonly number[] | undefined {
    return this.#finish?.ranks
  }

  /** ‖update‖₂, set by the last mean. */
  get updateNorm(): number | null {
    return this.#updateNorm
  }

  /** Takes the gradient in; returns the first frame. */
  *begin(gradients: readonly Gradient[] | null): Task<Uint8Array> {
    const { algorithm, session } = this.#ground
    this.#absence = gradients === null ? 'null' : this.#weight === 0 ? 'weight' : null
    if (this.#absence === null) this.#gradients = gradients
    const context = this.#context()
    algorithm.prepare(context)
    if (this.#gradients) {
      const taken = algorithm.take
        ? algorithm.take(context, this.#gradients)
        : session.accumulateProject(tensorsOf(this.#gradients))
      if (!(yield* wait(taken))) {
        this.#gradients = null
        this.#absence = 'gradient'
      }
    }
    this.#steps = algorithm.step(context)
    const frame = (yield* this.#advance(undefined))!
    this.#gradients = null // the caller's, from now on
    return frame
  }

  /** Takes the mean of the open round in; returns the next frame, or null after the last. */
  *receive(mean: Uint8Array): Task<Uint8Array | null> {
    const { layout, framing, algorithm, parent } = this.#ground
    const outgoing = this.#outgoing!
    const { frame, parts, counted } = framing.receive(mean, this.#sent!, outgoing)
    const { weight, scalars } = frame
    const values = frame.kind === 'gathered' ? frame.values.subarray(0, 0) : frame.values
    // Nobody's mean changes nothing, and undoes what the step's earlier means have changed.
    if (weight > 0) this.#parent = nextParent(this.#parent, frame)
    else if (!algorithm.incremental) this.#parent = parent
    this.#round++
    const next = yield* this.#advance({ values, parts, scalars, weight, counted })
    if (next === null) {
      this.#outcome = { counted, senders: [...frame.senders], weight }
      // Of the matrices, ‖P̂·Q̄ᵀ‖ = ‖Q̄‖ where P̂ is orthonormal. The raw values, which come last, are
      // their own update.
      const { squares } = this.#finish!
      const raw = endsWithRaw(outgoing) ? 4 * layout.rawFloats : 0
      const rest = squares === null ? 0 : values.length - raw
      this.#updateNorm = Math.sqrt((squares ?? 0) + sumOfSquares(values.subarray(rest)))
    }
    return next
  }

  /** Takes from the residual what has counted, and hands out the update. */
  *finish(sink: Sink | null): Task<Outcome> {
    const { framing, session, exact } = this.#ground
    const { settle, raw } = this.#finish!
    yield* wait(settle(sink))
    if (this.#outcome!.counted && !raw && endsWithRaw(this.#outgoing!)) {
      framing.settleRaw(session, exact)
    }
    return this.#outcome!
  }

  /** Runs the algorithm to the next frame, or to its end. */
  *#advance(incoming: Incoming | undefined): Task<Uint8Array | null> {
    let reply: unknown = incoming
    for (;;) {
      const { done, value } = this.#steps!.next(reply)
      if (done) {
        // A generator that has thrown is done as well, with nothing to finish the step.
        if (value === undefined) throw new RoundError('receive: this step has failed: abort it')
        this.#finish = value
        return null
      }
      if (!(value instanceof Promise)) return yield* this.#frame(value)
      reply = yield value
    }
  }

  /** The frame of the open round; without a sender if this worker is absent. */
  *#frame(outgoing: Outgoing): Task<Uint8Array> {
    const { framing, session, layout, number, exact } = this.#ground
    const { basis } = outgoing
    if (basis) this.#parent = withBasis(this.#parent, basis)
    const position = { step: number, round: this.#round, parent: this.#parent }
    const weight = this.#absence === null ? this.#weight : 0
    let made = yield* framing.send(session, layout, outgoing, position, weight, exact)
    if (made === null) {
      // The factors overflow. In the first round the gradient can still be taken back; later it
      // stays in the residual, as if the frame had been lost.
      this.#absence = 'factors'
      if (this.#gradients) yield* wait(this.#withdraw(this.#gradients))
      made = (yield* framing.send(session, layout, outgoing, position, 0, exact))!
    }
    this.#outgoing = outgoing
    this.#sent = made.header
    return made.bytes
  }

  #withdraw(gradients: readonly Gradient[]): MaybePromise<void> {
    const { algorithm, session } = this.#ground
    if (algorithm.withdraw) return algorithm.withdraw(this.#context())
    return session.withdraw(tensorsOf(gradients))
  }

  #context(): StepContext {
    const { session, host, layout, number, algorithm } = this.#ground
    const absence = () => this.#absence
    const gradients = () => (algorithm.take || !this.#gradients ? null : tensorsOf(this.#gradients))
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

/** What `Standing.checkGradients` lets pass where the method has no `takes`, and so no `take`. */
function tensorsOf(gradients: readonly Gradient[]): readonly Tensor[] {
  return gradients as readonly Tensor[]
}

function endsWithRaw(outgoing: Outgoing): boolean {
  return 'slots' in outgoing && outgoing.slots.at(-1) === 'raw'
}
