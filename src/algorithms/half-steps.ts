// PowerSGD by alternating half-steps: one product a round. Its other factor is the basis of what the round
// before has made. The authors' package (epfml/powersgd) and ACP-SGD (Zhang et al. 2023) do so, with the
// feedback of Algorithm 2 of arXiv 1905.13727.
//
//   sends P   P = M·Q̂   update += P̄·Q̂ᵀ   M ← M − P·Q̂ᵀ   Q̂ = orthonormalize(the last Q̄)
//   sends Q   Q = Mᵀ·P̂  update += P̂·Q̄ᵀ   M ← M − P̂·Qᵀ   P̂ = orthonormalize(the last P̄)
import type {
  Algorithm,
  Incoming,
  LoadedState,
  Outgoing,
  SharedState,
  StepContext,
  StepGenerator,
} from '../algorithm.ts'
import type { Host, Layout, Session, Side, Sink } from '../backend.ts'
import { bytesOf } from '../bytes.ts'
import { runTask, type Task, wait } from '../gensync.ts'
import { gatedRanks, leftColumns, otherSide, rawLengths, rightColumns } from '../layout.ts'
import { deduct, type Product, squaredNormOfProducts } from '../linalg/products.ts'
import { leadingColumns } from '../linalg/rayleigh-ritz.ts'
import type { AlgorithmSetup, Method, Round, Settings, SharedOptions } from '../options.ts'
import { refuseAggregated } from './feedback.ts'
import { wholeStep } from './uncompressed.ts'

/** The shared options that mean something to half-steps. `warmStart: false` would be `refresh: 1`. */
export const HALF_STEP_OPTIONS = [
  'rank',
  'seed',
  'iterations',
  'minCompressionRate',
  'startCompressingAfter',
  'refresh',
  'errorFeedback',
] as const satisfies (keyof SharedOptions)[]

/**
 * Half-steps: `iterations` of them a step, in a round each, so that one round a step is enough (the
 * default). What is sent alternates between P and Q from half-step to half-step, across steps too; P first.
 * A step's later half-steps see what its earlier ones left: k of them make an update of rank ⌈k/2⌉·r.
 *
 * Each round's mean counts by itself. A worker that is not in it keeps what it sent there; if nobody
 * is, nothing has happened: factors and what is sent next stay as they were, and so the next half-step
 * tries the same again. Raw tensors, and `Outcome`, follow the step's last round. Hence `abort` is for a
 * worker none of whose frames of this step is in a mean, or for all workers together.
 *
 * Two of them cost what a full step does, and, from the same Q̂, their update is the same, too.
 */
export function halfSteps(): Method {
  return {
    name: 'half-steps',
    supportedOptions: HALF_STEP_OPTIONS,
    check: refuseAggregated,
    ranks: (specs, settings, wanted) =>
      gatedRanks(specs, settings, wanted, {
        cost: (rows, cols, rank) => (settings.iterations * rank * (rows + cols)) / 2,
      }),
    cycle: (layout, settings) => halfRounds(layout, settings),
    create: (setup) => new HalfStepAlgorithm(setup),
  }
}

/** What half-steps send in the steps of a cycle. */
export function halfRounds(
  layout: Layout,
  { iterations }: Settings,
  first: SentFactor = 'P',
): Round[][] {
  const raw = rawLengths(layout)
  if (layout.matrices.length === 0) return [[{ kind: 'summed', columns: raw }]]
  const sides =
    first === 'P'
      ? [leftColumns(layout), rightColumns(layout)]
      : [rightColumns(layout), leftColumns(layout)]
  // After an odd number, the next step begins with the other side.
  return Array.from({ length: iterations % 2 === 0 ? 1 : 2 }, (_, step) =>
    Array.from({ length: iterations }, (_, k): Round => {
      const columns = sides[(step + k) % 2]!
      return { kind: 'summed', columns: k === iterations - 1 ? [...columns, ...raw] : columns }
    }),
  )
}

/** What other programs do otherwise, and no option asks for. */
export interface HalfStepVariant {
  /** what the very first half-step sends; default 'P' */
  readonly first?: SentFactor
  /** In place of the host's basis; what it makes need not be orthonormal. */
  basis?(host: Host, layout: Layout, side: Side, columns: Float32Array, step: number): void
}

export type SentFactor = 'P' | 'Q'

/** One half-step: the product that this worker sent, and what came of it. */
interface HalfStep extends Product {
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

export class HalfStepAlgorithm implements Algorithm {
  readonly incremental = true
  /** what came last of either side, not yet orthonormal; of one is made what the next half-step begins with */
  #factors = { left: new Float32Array(0), right: new Float32Array(0) }
  /** what the next half-step sends */
  #next: Side = 'left'
  /** scratch, made once: a step's half-steps */
  #halfSteps: HalfStep[] = []
  #layout: Layout
  readonly #host: Host
  readonly #settings: Settings
  readonly #variant: HalfStepVariant

  constructor(
    { host, layout, settings, loaded, step }: AlgorithmSetup,
    manners: HalfStepVariant = {},
  ) {
    this.#host = host
    this.#settings = settings
    this.#variant = manners
    this.#layout = layout
    this.load(layout, loaded, step)
  }

  get shared(): SharedState {
    return { ...this.#factors, notes: { next: this.#next === 'left' ? 'P' : 'Q' } }
  }

  prepare(context: StepContext): void {
    if (context.layout.matrices.length === 0) return
    const half = this.#halfSteps[0]!
    this.#begin(half, this.#next, this.#factors[otherSide(this.#next)], context)
    if (half.side === 'left') context.session.write('qHat', bytesOf(half.right))
  }

  /** Makes the factor that is everyone's. @param from  what it is to be a basis of */
  #begin(
    half: HalfStep,
    side: Side,
    from: Float32Array,
    { host, layout, step }: StepContext,
  ): void {
    half.side = side
    half.mean = half.scratch.subarray(0, half[side].length)
    const fixed = half[otherSide(side)]
    fixed.set(from)
    const { basis } = this.#variant
    if (basis) basis(host, layout, otherSide(side), fixed, step)
    else host.orthonormalize(layout, otherSide(side), fixed, step)
  }

  *step(context: StepContext): StepGenerator {
    const { session, layout, step } = context
    if (layout.matrices.length === 0) return yield* wholeStep(context)
    let side = this.#next
    let from: Float32Array = this.#factors[otherSide(side)]
    let raw: Uint8Array = new Uint8Array(0)
    for (const [k, half] of this.#halfSteps.entries()) {
      if (k > 0) this.#begin(half, side, from, context)
      const { values, weight, counted } = (yield* this.#send(context, k)) as Incoming
      bytesOf(half.mean).set(values.subarray(0, half.mean.byteLength))
      raw = values.subarray(half.mean.byteLength) // none but in the last round
      half.weight = weight
      half.counted = counted
      if (weight === 0) continue
      from = half.mean
      side = otherSide(side)
    }
    const done = this.#halfSteps.filter(({ weight }) => weight > 0)
    const means = done.map(({ side, left, right, mean }) =>
      side === 'left' ? { left: mean, right } : { left, right: mean },
    )
    this.#next = side
    for (const { side, mean } of done) this.#factors[side].set(mean)
    if (done.length > 0) this.#refresh(step + 1)
    const simple = this.#halfSteps.length === 1 && !this.#variant.basis
    return {
      settle: (sink) =>
        runTask(settleAll(session, this.#halfSteps, raw, sink), session.synchronous),
      squares: simple ? null : squaredNormOfProducts(layout, means),
    }
  }

  /** Computes what half-step k sends, and sends it. */
  *#send(
    context: StepContext,
    k: number,
  ): Generator<Outgoing | Promise<unknown>, unknown, unknown> {
    const { session, layout, present } = context
    const half = this.#halfSteps[k]!
    const { side } = half
    const slot = side === 'left' ? 'left' : 'qLocal'
    if (side === 'right') {
      session.write('left', bytesOf(half.left))
      if (present) yield* wait(session.backproject())
    } else if (k > 0) {
      session.write('qHat', bytesOf(half.right))
      if (present) yield* wait(session.project())
    } // else it was projected when the gradient was taken in
    const last = k === this.#halfSteps.length - 1
    // M is deflated when the step ends, so that it can be aborted: till then, on paper.
    const before = this.#halfSteps.slice(0, k).filter(({ counted }) => counted)
    if (present && (before.length > 0 || !last)) {
      yield* wait(session.read([slot], half[side]))
      deduct(layout, side, half[side], half[otherSide(side)], before)
      if (last) session.write(slot, bytesOf(half[side]))
    }
    if (last) return yield { slots: [slot, 'raw'] }
    const columns = side === 'left' ? leftColumns(layout) : rightColumns(layout)
    return yield { summed: { floats: half[side], columns } }
  }

  /** Draws new factors before step `step`, if they are due. */
  #refresh(step: number): void {
    const { refresh } = this.#settings
    if (refresh === 0 || step % refresh !== 0) return
    for (const matrix of this.#layout.matrices) {
      for (const side of SIDES) this.#host.fill(matrix, side, this.#factors[side], 0, step)
    }
  }

  load(layout: Layout, loaded: LoadedState, step: number): void {
    const { next = this.#variant.first ?? 'P' } = loaded.notes
    if (next !== 'P' && next !== 'Q') {
      throw new RangeError(`"state": notes: next: expected "P" or "Q", got ${JSON.stringify(next)}`)
    }
    this.#next = next === 'P' ? 'left' : 'right'
    this.#resize(layout)
    for (const matrix of layout.matrices) {
      for (const side of SIDES) {
        const given = loaded[side][matrix.index]
        if (given) this.#factors[side].set(given, matrix[side])
        else this.#host.fill(matrix, side, this.#factors[side], 0, step)
      }
    }
  }

  rearrange(layout: Layout, step: number): void {
    const [former, old] = [this.#layout, this.#factors]
    this.#resize(layout)
    for (const matrix of layout.matrices) {
      const { index, rows, cols, rank } = matrix
      const before = former.parameters[index]!
      const kept = Math.min(before.rank, rank)
      for (const side of SIDES) {
        const length = side === 'left' ? rows : cols
        const columns = old[side].subarray(before[side], before[side] + before.rank * length)
        const best = leadingColumns(columns, length, kept).subarray(0, kept * length)
        this.#factors[side].set(best, matrix[side])
        this.#host.fill(matrix, side, this.#factors[side], kept, step)
      }
    }
  }

  #resize(layout: Layout): void {
    this.#layout = layout
    const arenas = () => ({
      left: new Float32Array(layout.leftFloats),
      right: new Float32Array(layout.rightFloats),
    })
    this.#factors = arenas()
    this.#halfSteps = Array.from({ length: this.#settings.iterations }, () => {
      const scratch = new Float32Array(Math.max(layout.leftFloats, layout.rightFloats))
      return { ...arenas(), side: 'left', mean: scratch, weight: 0, counted: false, scratch }
    })
  }
}

const SIDES = ['left', 'right'] as const satisfies Side[]

/** Takes from M what counted, and hands out all means. The last half-step's own factor is in its slot. */
function* settleAll(
  session: Session,
  halves: readonly HalfStep[],
  raw: Uint8Array,
  sink: Sink | null,
): Task<void> {
  const last = halves.at(-1)!
  yield* settleHalfStep(session, last, raw, sink)
  const more = sink && { ...sink, accumulate: true }
  for (const half of halves.slice(0, -1)) {
    if (half.weight === 0) continue
    session.write('left', bytesOf(half.left))
    if (half.side === 'right') session.write('qLocal', bytesOf(half.right))
    yield* settleHalfStep(session, half, null, more)
  }
}

/** The same for one half-step, whose own P or Q and P̂ are in their slots. */
function* settleHalfStep(
  session: Session,
  { side, right, mean, counted }: HalfStep,
  raw: Uint8Array | null,
  sink: Sink | null,
): Task<void> {
  if (side === 'right') {
    session.write('qMean', bytesOf(mean))
    yield* wait(session.settle(counted, raw, sink))
    return
  }
  // The session's two products have the same left factor: here it is the right one that they share.
  if (counted) {
    session.write('qLocal', bytesOf(right))
    yield* wait(session.settle(true, null, null))
  }
  session.write('left', bytesOf(mean))
  session.write('qMean', bytesOf(right))
  yield* wait(session.settle(false, raw, sink))
}
