// Half-steps at work: what is sent, what M loses, what is kept. The method is in halfsteps.ts.
//
//   sends P   P = M·Q̂   update += P̄·Q̂ᵀ   M ← M − P·Q̂ᵀ   Q̂ = orthonormalize(the last Q̄)
//   sends Q   Q = Mᵀ·P̂  update += P̂·Q̄ᵀ   M ← M − P̂·Qᵀ   P̂ = orthonormalize(the last P̄)

import type { Algorithm, Incoming, Kept, Loaded, Outgoing, Steps, Turn } from '../algorithm.ts'
import type { Host, MaybePromise, Plan, Session, Side, Sink } from '../backend.ts'
import { bytesOf } from '../bytes.ts'
import { runAsync, runSync, type Task, wait } from '../gensync.ts'
import { leftColumns, rightColumns } from '../layout.ts'
import { deduct, type Product, squaresOf } from '../linalg/products.ts'
import { leading } from '../linalg/rayleigh-ritz.ts'
import type { Making, Settings } from '../options.ts'
import { wholeStep } from './uncompressed.ts'

/** What other programs do otherwise, and no option asks for. */
export interface Manners {
  /** what the very first half-step sends; default 'P' */
  readonly first?: Sent
  /** In place of the host's basis; what it makes need not be orthonormal. */
  basis?(host: Host, plan: Plan, side: Side, columns: Float32Array, step: number): void
}

export type Sent = 'P' | 'Q'

/** One half-step: the product that this worker sent, and what came of it. */
interface Half extends Product {
  /** the factor that goes out, this worker's own; the other one is everyone's */
  side: Side
  /** of everyone's, that factor */
  mean: Float32Array
  /** of the mean; 0: the half-step has not happened */
  weight: number
  counted: boolean
  /** scratch, as long as the longer side */
  readonly scratch: Float32Array
}

export class Alternation implements Algorithm {
  readonly incremental = true
  /** what came last of either side, not yet orthonormal; of one is made what the next half-step begins with */
  #factors = { left: new Float32Array(0), right: new Float32Array(0) }
  /** what the next half-step sends */
  #next: Side = 'left'
  /** scratch, made once: a step's half-steps */
  #halves: Half[] = []
  #plan: Plan
  readonly #host: Host
  readonly #settings: Settings
  readonly #manners: Manners

  constructor({ host, plan, settings, loaded, step }: Making, manners: Manners = {}) {
    this.#host = host
    this.#settings = settings
    this.#manners = manners
    this.#plan = plan
    this.load(plan, loaded, step)
  }

  get kept(): Kept {
    return { ...this.#factors, notes: { next: this.#next === 'left' ? 'P' : 'Q' } }
  }

  prepare(turn: Turn): void {
    if (turn.plan.matrices.length === 0) return
    const half = this.#halves[0]!
    this.#begin(half, this.#next, this.#factors[other(this.#next)], turn)
    if (half.side === 'left') turn.session.write('query', bytesOf(half.right))
  }

  /** Makes the factor that is everyone's. @param from  what it is to be a basis of */
  #begin(half: Half, side: Side, from: Float32Array, { host, plan, step }: Turn): void {
    half.side = side
    half.mean = half.scratch.subarray(0, half[side].length)
    const fixed = half[other(side)]
    fixed.set(from)
    const { basis } = this.#manners
    if (basis) basis(host, plan, other(side), fixed, step)
    else host.orthonormalize(plan, other(side), fixed, step)
  }

  *step(turn: Turn): Steps {
    const { session, plan, step } = turn
    if (plan.matrices.length === 0) return yield* wholeStep(turn)
    let side = this.#next
    let from: Float32Array = this.#factors[other(side)]
    let raw: Uint8Array = new Uint8Array(0)
    for (const [k, half] of this.#halves.entries()) {
      if (k > 0) this.#begin(half, side, from, turn)
      const { values, weight, counted } = (yield* this.#send(turn, k)) as Incoming
      bytesOf(half.mean).set(values.subarray(0, half.mean.byteLength))
      raw = values.subarray(half.mean.byteLength) // none but in the last round
      half.weight = weight
      half.counted = counted
      if (weight === 0) continue
      from = half.mean
      side = other(side)
    }
    const done = this.#halves.filter(({ weight }) => weight > 0)
    const means = done.map(({ side, left, right, mean }) =>
      side === 'left' ? { left: mean, right } : { left, right: mean },
    )
    this.#next = side
    for (const { side, mean } of done) this.#factors[side].set(mean)
    if (done.length > 0) this.#refresh(step + 1)
    const simple = this.#halves.length === 1 && !this.#manners.basis
    return {
      settle: (sink) => run(session, settleAll(session, this.#halves, raw, sink)),
      squares: simple ? null : squaresOf(plan, means),
    }
  }

  /** Computes what half-step k sends, and sends it. */
  *#send(turn: Turn, k: number): Generator<Outgoing | Promise<unknown>, unknown, unknown> {
    const { session, plan, present } = turn
    const half = this.#halves[k]!
    const { side } = half
    const slot = side === 'left' ? 'left' : 'own'
    if (side === 'right') {
      session.write('left', bytesOf(half.left))
      if (present) yield* wait(session.backproject())
    } else if (k > 0) {
      session.write('query', bytesOf(half.right))
      if (present) yield* wait(session.project())
    } // else it was projected when the gradient was taken in
    const last = k === this.#halves.length - 1
    // M is deflated when the step ends, so that it can be aborted: till then, on paper.
    const before = this.#halves.slice(0, k).filter(({ counted }) => counted)
    if (present && (before.length > 0 || !last)) {
      yield* wait(session.read([slot], half[side]))
      deduct(plan, side, half[side], half[other(side)], before)
      if (last) session.write(slot, bytesOf(half[side]))
    }
    if (last) return yield { slots: [slot, 'raw'] }
    const columns = side === 'left' ? leftColumns(plan) : rightColumns(plan)
    return yield { summed: { floats: half[side], columns } }
  }

  /** Draws new factors before step `step`, if they are due. */
  #refresh(step: number): void {
    const { refresh } = this.#settings
    if (refresh === 0 || step % refresh !== 0) return
    for (const matrix of this.#plan.matrices) {
      for (const side of SIDES) this.#host.fill(matrix, side, this.#factors[side], 0, step)
    }
  }

  load(plan: Plan, loaded: Loaded, step: number): void {
    const { next = this.#manners.first ?? 'P' } = loaded.notes
    if (next !== 'P' && next !== 'Q') {
      throw new RangeError(`"state": notes: next: expected "P" or "Q", got ${JSON.stringify(next)}`)
    }
    this.#next = next === 'P' ? 'left' : 'right'
    this.#resize(plan)
    for (const matrix of plan.matrices) {
      for (const side of SIDES) {
        const given = loaded[side][matrix.index]
        if (given) this.#factors[side].set(given, matrix[side])
        else this.#host.fill(matrix, side, this.#factors[side], 0, step)
      }
    }
  }

  replan(plan: Plan, step: number): void {
    const [former, old] = [this.#plan, this.#factors]
    this.#resize(plan)
    for (const matrix of plan.matrices) {
      const { index, rows, cols, rank } = matrix
      const before = former.parameters[index]!
      const kept = Math.min(before.rank, rank)
      for (const side of SIDES) {
        const length = side === 'left' ? rows : cols
        const columns = old[side].subarray(before[side], before[side] + before.rank * length)
        const best = leading(columns, length, kept).subarray(0, kept * length)
        this.#factors[side].set(best, matrix[side])
        this.#host.fill(matrix, side, this.#factors[side], kept, step)
      }
    }
  }

  #resize(plan: Plan): void {
    this.#plan = plan
    const arenas = () => ({
      left: new Float32Array(plan.leftFloats),
      right: new Float32Array(plan.rightFloats),
    })
    this.#factors = arenas()
    this.#halves = Array.from({ length: this.#settings.iterations }, () => {
      const scratch = new Float32Array(Math.max(plan.leftFloats, plan.rightFloats))
      return { ...arenas(), side: 'left', mean: scratch, weight: 0, counted: false, scratch }
    })
  }
}

const SIDES = ['left', 'right'] as const satisfies Side[]

function other(side: Side): Side {
  return side === 'left' ? 'right' : 'left'
}

/** Takes from M what counted, and hands out all means. The last half-step's own factor is in its slot. */
function* settleAll(
  session: Session,
  halves: readonly Half[],
  raw: Uint8Array,
  sink: Sink | null,
): Task<void> {
  const last = halves.at(-1)!
  yield* settleHalf(session, last, raw, sink)
  const more = sink && { ...sink, accumulate: true }
  for (const half of halves.slice(0, -1)) {
    if (half.weight === 0) continue
    session.write('left', bytesOf(half.left))
    if (half.side === 'right') session.write('own', bytesOf(half.right))
    yield* settleHalf(session, half, null, more)
  }
}

/** The same for one half-step, whose own P or Q and P̂ are in their slots. */
function* settleHalf(
  session: Session,
  { side, right, mean, counted }: Half,
  raw: Uint8Array | null,
  sink: Sink | null,
): Task<void> {
  if (side === 'right') {
    session.write('mean', bytesOf(mean))
    yield* wait(session.settle(counted, raw, sink))
    return
  }
  // The session's two products have the same left factor: here it is the right one that they share.
  if (counted) {
    session.write('own', bytesOf(right))
    yield* wait(session.settle(true, null, null))
  }
  session.write('left', bytesOf(mean))
  session.write('mean', bytesOf(right))
  yield* wait(session.settle(false, raw, sink))
}

function run(session: Session, work: Task<void>): MaybePromise<void> {
  return session.synchronous ? runSync(work) : runAsync(work)
}
