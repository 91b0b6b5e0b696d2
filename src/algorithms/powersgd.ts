// PowerSGD, full step: one power iteration from the last step's Q, its two products averaged over
// the workers. Vogels, Karimireddy, Jaggi 2019 (arXiv 1905.13727), Algorithm 1 with the feedback of
// Algorithm 2: the residual is taken from the worker's own Q, or from the mean if asked to.
import { bytesOf } from '../bytes.ts'
import { wait } from '../effects.ts'
import type { Settings } from '../options.ts'
import type { Algorithm, Host, Incoming, Outgoing, Plan, Slot, Steps, Turn } from '../seam.ts'
import { gramSchmidt, squaresOf } from './gramschmidt.ts'

/** PowerSGD's state between steps: the right factors, not yet orthonormal. */
export interface PowerSgd extends Algorithm {
  /** cols × rank by column, one matrix after another, as the plan lays them out */
  readonly factors: Float32Array
  /** Adapts to new ranks: keeps leading columns, appends seeded ones. */
  replan(plan: Plan, step: number): void
  /** Takes factors from elsewhere, one per parameter of the plan; draws those that are absent. */
  load(plan: Plan, factors: readonly (Float32Array | null)[], step: number): void
}

type Needs = Pick<
  Settings,
  'seed' | 'iterations' | 'warmStart' | 'errorFeedback' | 'orthonormalize' | 'query' | 'basis'
>

/** What the paper's code adds to the norm of a column of Σ weight·P. */
const EPSILON = 1e-8

/**
 * @param factors  one per parameter of the plan; those that are null are drawn
 * @param step  the number of the first step, part of the seed
 */
export function createPowerSgd(
  host: Host,
  plan: Plan,
  settings: Needs,
  factors: readonly (Float32Array | null)[],
  step: number,
): PowerSgd {
  return new FullStep(host, plan, settings, factors, step)
}

class FullStep implements PowerSgd {
  factors = new Float32Array(0)
  // Scratch, made once: Q̂ and P̂ while the host works on them.
  #right = new Float32Array(0)
  #left = new Float32Array(0)
  #plan: Plan
  readonly #host: Host
  readonly #settings: Needs

  constructor(
    host: Host,
    plan: Plan,
    settings: Needs,
    factors: readonly (Float32Array | null)[],
    step: number,
  ) {
    this.#host = host
    this.#settings = settings
    this.#plan = plan
    this.load(plan, factors, step)
  }

  prepare(turn: Turn): void {
    if (turn.plan.matrices.length > 0) this.#query(turn, bytesOf(this.factors))
  }

  /** Makes Q̂ of right factors. */
  #query({ session, host, plan, step }: Turn, factors: Uint8Array): void {
    const right = bytesOf(this.#right)
    right.set(factors)
    if (this.#settings.query === 'orthonormal') {
      host.orthonormalize(plan, 'right', this.#right, step)
    }
    session.write('query', right)
  }

  *step(turn: Turn): Steps {
    const { session, plan, step } = turn
    let q: Incoming
    for (let k = 1; ; k++) {
      if (plan.matrices.length > 0) {
        yield* this.#leftRound(turn)
        if (turn.present) yield* wait(session.backproject())
      }
      if (k === this.#settings.iterations || plan.matrices.length === 0) break
      q = (yield this.#outgoing(['own'])) as Incoming
      this.#query(turn, q.values)
      if (turn.present) yield* wait(session.project())
    }
    // Raw tensors travel last, so that one set of senders decides for them and the matrices alike.
    q = (yield this.#outgoing(plan.matrices.length > 0 ? ['own', 'raw'] : ['raw'])) as Incoming
    const mean = q.values.subarray(0, 4 * plan.rightFloats)
    const raw = q.values.subarray(4 * plan.rightFloats)
    session.write('mean', mean)
    if (this.#settings.errorFeedback === 'aggregated') session.write('own', mean)
    if (q.weight > 0 && plan.matrices.length > 0) this.#next(mean, step + 1)
    return {
      settle: (sink) => session.settle(q.counted, raw, sink),
      squares: this.#settings.basis === 'gram-schmidt' ? this.#squares(plan, mean) : null,
    }
  }

  /** What comes of P̂: with its bits, if others may have other ones. */
  #outgoing(slots: readonly Slot[]): Outgoing {
    return this.#settings.orthonormalize === 'device' ? { slots, basis: this.#left } : { slots }
  }

  /** ‖P̂·Q̄ᵀ‖², where P̂ need not be orthonormal. */
  #squares(plan: Plan, mean: Uint8Array): number {
    bytesOf(this.#right).set(mean)
    return squaresOf(plan, this.#left, this.#right)
  }

  /** Sends P, receives P̄, and leaves P̂ in the session. */
  *#leftRound({
    session,
    host,
    plan,
    step,
  }: Turn): Generator<Outgoing | Promise<unknown>, void, unknown> {
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
    if (this.#settings.basis === 'gram-schmidt' && p.weight > 0) {
      gramSchmidt(plan, this.#left, EPSILON / p.weight)
    } else host.orthonormalize(plan, 'left', this.#left, step)
    session.write('left', left)
  }

  /** The factors that step `step` begins with. */
  #next(mean: Uint8Array, step: number): void {
    if (this.#settings.warmStart === true) {
      bytesOf(this.factors).set(mean)
    } else if (this.#settings.warmStart === false) {
      for (const matrix of this.#plan.matrices) {
        this.#host.fill(matrix, 'right', this.factors, 0, step)
      }
    }
  }

  load(plan: Plan, factors: readonly (Float32Array | null)[], step: number): void {
    this.#resize(plan)
    for (const matrix of plan.matrices) {
      const given = factors[matrix.index]
      if (given) this.factors.set(given, matrix.right)
      else this.#host.fill(matrix, 'right', this.factors, 0, step)
    }
  }

  replan(plan: Plan, step: number): void {
    const factors = new Float32Array(plan.rightFloats)
    for (const matrix of plan.matrices) {
      const old = this.#plan.parameters[matrix.index]!
      const kept = Math.min(old.rank, matrix.rank)
      const columns = this.factors.subarray(old.right, old.right + kept * old.cols)
      factors.set(columns, matrix.right)
      this.#host.fill(matrix, 'right', factors, kept, step)
    }
    this.#resize(plan)
    this.factors.set(factors)
  }

  #resize(plan: Plan): void {
    this.#plan = plan
    this.factors = new Float32Array(plan.rightFloats)
    this.#right = new Float32Array(plan.rightFloats)
    this.#left = new Float32Array(plan.leftFloats)
  }
}
