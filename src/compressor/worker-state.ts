// Where a worker stands between two steps: its factors, its residual, its place in the fleet's
// history; and what may change them there.

import type { Algorithm, SharedState } from '../algorithm.ts'
import { keepsNothing } from '../algorithms/feedback.ts'
import { wholeSteps } from '../algorithms/uncompressed.ts'
import type {
  Dense,
  Gradient,
  Host,
  Layout,
  Session,
  SessionOptimizer,
  Tensor,
} from '../backend.ts'
import { bytesOf } from '../bytes.ts'
import { hash64 } from '../codec/xxh32.ts'
import { DeviceLostError } from '../errors.ts'
import { type Task, wait } from '../gensync.ts'
import { layoutOf, rawLayoutOf } from '../layout.ts'
import type { Settings, Spec } from '../options.ts'
import { checkTensors, integer, show } from '../validate.ts'
import { decodeCheckpoint, encodeCheckpoint } from './checkpoint.ts'
import type { Framing } from './framing.ts'
import { Step } from './step.ts'

/** What a compressor is made of; `createCompressor` puts it together. */
export interface WorkerSetup {
  readonly specs: readonly Spec[]
  readonly settings: Settings
  readonly session: Session
  readonly host: Host
  readonly framing: Framing
  readonly algorithm: Algorithm
  readonly layout: Layout
  readonly step: number
  readonly parent: Uint8Array
  readonly weight: number
  /** as `DeviceLostError` says it */
  readonly saved: number | null
}

/** Half the largest float32, about: what sums of two still are below. */
const MAX_RESIDUAL = 2 ** 127

/** The hash of the factors, which all workers begin with alike. */
export function firstParent({ right, left }: SharedState): Uint8Array {
  const factors = new Uint8Array(right.byteLength + left.byteLength)
  factors.set(bytesOf(right))
  factors.set(bytesOf(left), right.byteLength)
  return hash64(factors)
}

/** Everything that outlives a step. Its methods are for between two steps; callers see to that. */
export class WorkerState {
  readonly #specs: readonly Spec[]
  readonly #settings: Settings
  readonly #session: Session
  readonly #host: Host
  readonly #framing: Framing
  readonly #algorithm: Algorithm
  /** for steps that compress, and for those before `startCompressingAfter` */
  #layout: Layout
  readonly #rawLayout: Layout
  /** the one that the session is arranged for */
  #arranged: Layout
  #number: number
  #parent: Uint8Array
  #weight: number
  /** the step before which the residual was last saved */
  #saved: number | null

  constructor(setup: WorkerSetup) {
    this.#specs = setup.specs
    this.#settings = setup.settings
    this.#session = setup.session
    this.#host = setup.host
    this.#framing = setup.framing
    this.#algorithm = setup.algorithm
    this.#layout = setup.layout
    this.#rawLayout = rawLayoutOf(setup.specs)
    this.#arranged = this.#settings.method.ownsFactors ? this.#rawLayout : setup.layout
    this.#number = setup.step
    this.#parent = setup.parent
    this.#weight = setup.weight
    this.#saved = setup.saved
    this.#framing.reserve(this.#layout)
  }

  /** the number of the open step, or of the next */
  get number(): number {
    return this.#number
  }

  get ranks(): number[] {
    return this.#layout.parameters.map(({ rank }) => rank)
  }

  get gradients(): readonly Dense[] | null {
    return this.#session.gradients
  }

  get optimizer(): SessionOptimizer | undefined {
    return this.#session.optimizer
  }

  get synchronous(): boolean {
    return this.#session.synchronous
  }

  /** @throws TypeError, RangeError  unless these tensors fit the shapes and the backend */
  check(tensors: readonly Tensor[], name: string): void {
    checkTensors(tensors, this.#specs, name, (...other) => this.#session.check(...other))
  }

  /** The same for what `compress` is given. */
  checkGradients(gradients: readonly Gradient[]): void {
    const { name, accepts: takes } = this.#settings.method
    const other = (tensor: unknown, length: number, at: string) => {
      const factored = typeof tensor === 'object' && tensor !== null && 'activations' in tensor
      if (!factored) return this.#session.check(tensor, length, at)
      throw new TypeError(`"${at}": the method ${name} takes no factored gradients`)
    }
    checkTensors(gradients, this.#specs, 'gradients', other, takes)
  }

  /** The next step, with the session arranged for it. */
  begin(weight: number): Step {
    const exact = this.#number < this.#settings.startCompressingAfter
    const layout = exact ? this.#rawLayout : this.#layout
    this.#arrange(layout)
    const ground = {
      session: this.#session,
      host: this.#host,
      framing: this.#framing,
      algorithm: exact ? wholeSteps : this.#algorithm,
      layout,
      number: this.#number,
      parent: this.#parent,
      exact,
    }
    return new Step(ground, weight)
  }

  /** Memory may grow here: not in a step, for the caller's gradients may lie there. */
  #arrange(layout: Layout): void {
    const arranged = this.#settings.method.ownsFactors ? this.#rawLayout : layout
    if (arranged === this.#arranged) return
    this.#session.rearrange(arranged)
    this.#arranged = arranged
  }

  /** A gradient has been taken in with this weight. */
  sent(weight: number): void {
    this.#weight = weight
  }

  /**
   * A step is over.
   *
   * @param parent  with its means; none if they do not count
   * @param ranks  from now on, if the step has decided about them
   */
  end(parent?: Uint8Array, ranks?: readonly number[]): void {
    if (keepsNothing(this.#settings)) this.#clear()
    this.#parent = parent ?? this.#parent
    this.#number++
    if (ranks && String(ranks) !== String(this.ranks)) this.#rearrange(ranks)
  }

  /** M ← 0, as far as the method has put something there. */
  #clear(): void {
    if (this.#settings.method.ownsFactors) return
    this.#session.scale(this.#algorithm.take ? 'raw' : 'residual', 0)
  }

  *save(residual: boolean): Task<Uint8Array> {
    const state = encodeCheckpoint({
      specs: this.#specs,
      settings: this.#settings,
      step: this.#number,
      parent: this.#parent,
      weight: this.#weight,
      layout: this.#layout,
      kept: this.#algorithm.shared,
      residual: residual ? yield* this.#residual() : null,
    })
    if (residual) this.#saved = this.#number
    return state
  }

  /** What a lost device means for this worker. */
  lost(cause: DeviceLostError): DeviceLostError {
    const from = this.#saved
    const safe =
      from === null
        ? 'the residual, which was never saved, is lost with it'
        : `the residual is safe as of the save before step ${from}`
    return new DeviceLostError(`${cause.message}; ${safe}`, from, { cause })
  }

  join(state: Uint8Array): void {
    const read = decodeCheckpoint(state, this.#specs, this.#settings)
    const layout = layoutOf(this.#specs, read.ranks)
    this.#arrange(layout)
    this.#algorithm.load(layout, read.loaded, read.step) // it may refuse a note: before all else
    this.#layout = layout
    this.#number = read.step
    this.#parent = read.parent ?? firstParent(this.#algorithm.shared)
    this.#framing.reserve(this.#layout)
  }

  *adopt(state: Uint8Array): Task<void> {
    const { residual, weight } = decodeCheckpoint(state, this.#specs, this.#settings)
    if (!residual) throw new RangeError('"state": expected one with its residual')
    const own = yield* this.#residual()
    const factor = weight / this.#weight
    for (let i = 0; i < own.length; i++) {
      own[i] = own[i]! + factor * residual[i]!
      if (Math.abs(own[i]!) <= MAX_RESIDUAL) continue
      throw new RangeError(`"state": its residual times ${factor}, the ratio of weights, overflows`)
    }
    this.#session.write('residual', bytesOf(own))
  }

  setRank(rank: number | readonly number[]): void {
    const { method } = this.#settings
    if (!method.supportedOptions.includes('rank')) {
      throw new RangeError(`"rank": the method ${method.name} has no use for it`)
    }
    if (typeof rank !== 'number') {
      if (!Array.isArray(rank) || rank.length !== this.#specs.length) {
        throw new RangeError(
          `"rank": expected a number or ${this.#specs.length} of them, got ${show(rank)}` +
            (Array.isArray(rank) ? ` of ${rank.length}` : ''),
        )
      }
      for (const [i, one] of rank.entries()) integer(`rank[${i}]`, one, 0, 65535)
    } else integer('rank', rank, 1, 65535)
    this.#rearrange(this.#settings.method.ranks(this.#specs, this.#settings, rank))
  }

  #rearrange(ranks: readonly number[]): void {
    const layout = layoutOf(this.#specs, ranks)
    this.#arrange(layout)
    this.#layout = layout
    this.#algorithm.rearrange(this.#layout, this.#number)
    this.#framing.reserve(this.#layout)
  }

  *rescale(factor: number): Task<void> {
    if (typeof factor !== 'number' || !Number.isFinite(Math.fround(factor))) {
      throw new RangeError(`"factor": expected a finite number, got ${show(factor)}`)
    }
    const norm = yield* this.norm()
    if (norm * Math.abs(factor) > MAX_RESIDUAL) {
      throw new RangeError(`"factor": ${factor} times a residual of norm ${norm} might overflow`)
    }
    yield* wait(this.#session.scale('residual', factor))
  }

  /** ‖residual‖₂ */
  *norm(): Task<number> {
    const squares = yield* wait(this.#session.norms())
    return Math.sqrt(squares.reduce((sum, square) => sum + square, 0))
  }

  dispose(): void {
    this.#session.dispose()
  }

  *#residual(): Task<Float32Array> {
    const values = new Float32Array(this.#layout.denseFloats)
    yield* wait(this.#session.read(['residual'], values))
    return values
  }
}
