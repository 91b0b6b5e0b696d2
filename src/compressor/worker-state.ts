// The state that a worker keeps between two steps: factors, residual, ranks, step number and the
// hash of the means received so far; and the operations that change it there.

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
import { type Bytes, type BytesLike, bytesOf, concatBytes } from '../bytes.ts'
import { hash64 } from '../codec/xxh32.ts'
import { DeviceLostError, RoundError } from '../errors.ts'
import { type Task, wait } from '../gensync.ts'
import { decideRanks, FROZEN, layoutOf, ranksIn, rawLayoutOf } from '../layout.ts'
import { MOST_RANK, type Rank, type Settings, type Spec } from '../options.ts'
import {
  aFloat,
  checkTensors,
  flag,
  integer,
  knownOptions,
  labelOf,
  show,
  wrongValue,
} from '../validate.ts'
import {
  checkNames,
  decodeCheckpoint,
  encodeCheckpoint,
  MAX_RESIDUAL,
  type Metadata,
} from './checkpoint.ts'
import type { Framing } from './framing.ts'
import { Step } from './step.ts'

/** The parts of a compressor, which `createCompressor` makes. */
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
  /** see `DeviceLostError.savedStep` */
  readonly saved: number | null
}

/** The `parent` before the first mean: the hash of the factors, which are equal on all workers. */
export function firstParent({ right, left }: SharedState): Uint8Array {
  return hash64(concatBytes([bytesOf(right), bytesOf(left)]))
}

/**
 * The state of one worker. Its methods may only be called between two steps, which callers ensure.
 */
export class WorkerState {
  readonly #setup: WorkerSetup
  /** the layout of steps that compress */
  #layout: Layout
  /** the last result of `#rawOf` */
  #raw: { readonly of: Layout; readonly layout: Layout } | null = null
  /** the layout that the session has now */
  #arranged: Layout
  #number: number
  #parent: Uint8Array
  #weight: number
  /** the step before which the residual was last saved; null: never */
  #saved: number | null

  constructor(setup: WorkerSetup) {
    this.#setup = setup
    this.#layout = setup.layout
    this.#arranged = this.#sessionLayout(setup.layout)
    this.#number = setup.step
    this.#parent = setup.parent
    this.#weight = setup.weight
    this.#saved = setup.saved
    setup.framing.reserve(setup.layout)()
  }

  /** the number of the open step; between steps, of the next one */
  get number(): number {
    return this.#number
  }

  get ranks(): Rank[] {
    return this.#layout.parameters.map(({ rank, frozen }) => (frozen ? 'frozen' : rank))
  }

  get lengths(): number[] {
    return this.#setup.specs.map(({ length }) => length)
  }

  get gradients(): readonly Dense[] | null {
    return this.#setup.session.gradients
  }

  get optimizer(): SessionOptimizer | undefined {
    return this.#setup.session.optimizer
  }

  get synchronous(): boolean {
    return this.#setup.session.synchronous
  }

  /**
   * Checks tensors against the shapes and the backend.
   *
   * @param lacking  true: any of them may be null; false: only those of frozen parameters
   * @throws TypeError, RangeError
   */
  check(tensors: readonly (Tensor | null)[], name: string, lacking = false): void {
    const { specs, session } = this.#setup
    const checkOther = (tensor: unknown, length: number, at: string, i: number) => {
      if (tensor !== null) return session.check(tensor, length, at)
      if (lacking || this.#layout.parameters[i]!.frozen) return
      // `into` of step is `gradients` unless it is given
      const where = at.replace('into', 'gradients')
      throw new TypeError(`"${where}": null without "into": its update would have nowhere to go`)
    }
    checkTensors(tensors, specs, name, checkOther)
  }

  /** Checks the argument of `compress`. @throws TypeError, RangeError */
  checkGradients(gradients: readonly (Gradient | null)[]): void {
    const { specs, settings, session } = this.#setup
    const { name, accepts } = settings.method
    const checkOther = (tensor: unknown, length: number, at: string) => {
      if (tensor === null) return
      const factored = typeof tensor === 'object' && 'activations' in tensor
      if (!factored) return session.check(tensor, length, at)
      throw new TypeError(`"${at}": the method ${name} takes no factored gradients`)
    }
    checkTensors(gradients, specs, 'gradients', checkOther, accepts)
  }

  /** @throws RoundError  if there is no number for a next step */
  checkNumber(): void {
    if (this.#number <= 0xffffffff) return
    throw new RoundError('compress: step 2³² − 1, the last, is over: create new compressors')
  }

  /** Checks the names in a checkpoint. @throws RangeError */
  checkNames(metadata: Metadata): void {
    checkNames(metadata, this.#setup.specs)
  }

  /** Makes the next step, and rearranges the session if that step has another layout. */
  begin(weight: number): Step {
    const exact = this.#number < this.#setup.settings.startCompressingAfter
    const layout = exact ? this.#rawOf(this.#layout) : this.#layout
    this.#arrange(layout)
    const setup = {
      ...this.#setup,
      algorithm: exact ? wholeSteps : this.#setup.algorithm,
      layout,
      number: this.#number,
      parent: this.#parent,
      exact,
    }
    return new Step(setup, weight)
  }

  /**
   * Gives the session another layout. This may enlarge its memory, so it must not happen within a
   * step: the caller's gradients may lie in that memory.
   */
  #arrange(layout: Layout): void {
    const arranged = this.#sessionLayout(layout)
    if (arranged === this.#arranged) return
    this.#setup.session.rearrange(arranged)
    this.#arranged = arranged
  }

  /** The session's layout in steps with this layout. */
  #sessionLayout(layout: Layout): Layout {
    return this.#setup.settings.method.ownsFactors ? this.#rawOf(layout) : layout
  }

  /**
   * The layout in which the matrices are raw, too: of steps before `startCompressingAfter`, and of
   * the sessions of methods that own their factors.
   */
  #rawOf(layout: Layout): Layout {
    if (this.#raw?.of !== layout) {
      this.#raw = { of: layout, layout: rawLayoutOf(this.#setup.specs, ranksIn(layout)) }
    }
    return this.#raw.layout
  }

  /** Notes the weight of the gradient that has just been taken in. */
  sent(weight: number): void {
    this.#weight = weight
  }

  /**
   * Ends a step.
   *
   * @param parent  the history hash with the means of the step; absent if the step was aborted
   * @param adopt  what `newRanks` has returned, if the step has decided about ranks
   */
  end(parent?: Uint8Array, adopt?: (() => Layout) | null): void {
    const { settings, session, algorithm } = this.#setup
    if (keepsNothing(settings) && !settings.method.ownsFactors) {
      session.scale(algorithm.take ? 'raw' : 'residual', 0) // M ← 0, where the method uses it
    }
    this.#parent = parent ?? this.#parent
    this.#number++
    const layout = adopt?.()
    if (!layout) return
    try {
      this.#arrange(layout)
    } catch (error) {
      // All workers have these ranks now. The next `compress` tries again, and raises the error.
      if (!(error instanceof RangeError)) throw error
    }
  }

  /**
   * Prepares the ranks that the open step has decided on; `end` adopts them.
   *
   * @returns null if they stay
   */
  newRanks(ranks: readonly number[] | undefined): (() => Layout) | null {
    if (!ranks || String(ranks) === String(ranksIn(this.#layout))) return null
    const layout = layoutOf(this.#setup.specs, ranks)
    return this.#prepare(layout, this.#setup.algorithm.rearrange(layout, this.#number + 1))
  }

  /**
   * Makes everything that another layout needs, but for the session's memory.
   *
   * @param replace  puts the algorithm's state for that layout in the place of the old one
   * @returns a function that puts all of it in place, and cannot fail
   */
  #prepare(layout: Layout, replace: () => void): () => Layout {
    const reserve = this.#setup.framing.reserve(layout)
    return () => {
      replace()
      reserve()
      this.#layout = layout
      return layout
    }
  }

  *save(options: { residual?: boolean }): Task<Bytes> {
    const { residual = true } = knownOptions(options, ['residual'])
    flag('residual', residual)
    const checkpoint = encodeCheckpoint({
      ...this.#setup,
      step: this.#number,
      parent: this.#parent,
      weight: this.#weight,
      layout: this.#layout,
      shared: this.#setup.algorithm.shared,
      residual: residual ? yield* this.#residual() : null,
    })
    if (residual) this.#saved = this.#number
    return checkpoint
  }

  /** The error for a lost device, with what it means for this worker's residual. */
  lost(cause: DeviceLostError): DeviceLostError {
    const from = this.#saved
    const safe =
      from === null
        ? 'the residual, which was never saved, is lost with it'
        : `the residual is safe as of the save before step ${from}`
    return new DeviceLostError(`${cause.message}; ${safe}`, from, { cause })
  }

  join(checkpoint: BytesLike): void {
    const { specs, settings, algorithm } = this.#setup
    const { ranks, loaded, step, parent } = decodeCheckpoint(checkpoint, specs, settings)
    const layout = layoutOf(specs, ranks)
    const adopt = this.#prepare(layout, algorithm.load(layout, loaded, step))
    this.#arrange(layout) // the last that may fail; it may replace `gradients`
    adopt()
    this.#number = step
    this.#parent = parent ?? firstParent(algorithm.shared)
  }

  *adopt(checkpoint: BytesLike): Task<void> {
    const { specs, settings, session } = this.#setup
    const { residual, weight } = decodeCheckpoint(checkpoint, specs, settings)
    if (!residual) throw new RangeError('"checkpoint": expected one with its residual')
    const own = yield* this.#residual()
    const factor = weight / this.#weight
    let next = 0
    for (const { length, frozen } of this.#layout.parameters) {
      if (frozen) residual.fill(0, next, next + length)
      next += length
    }
    for (let i = 0; i < own.length; i++) {
      own[i] = own[i]! + factor * residual[i]!
      if (Math.abs(own[i]!) < MAX_RESIDUAL) continue
      throw new RangeError(
        `"checkpoint": its residual times ${factor}, the ratio of weights, makes ${own[i]}: ` +
          'expected less than 2¹⁰⁰',
      )
    }
    session.write('residual', bytesOf(own))
  }

  setRank(rank: Rank | readonly Rank[]): void {
    const { specs, settings } = this.#setup
    const { method } = settings
    const ranked = method.supportedOptions.includes('rank')
    if (typeof rank === 'number') {
      if (!ranked) throw new RangeError(`"rank": the method ${method.name} has no use for it`)
      integer('rank', rank, 1, MOST_RANK)
      this.#rearrange(decideRanks(specs, settings, rank))
      return
    }
    const list: unknown = rank === 'frozen' ? specs.map(() => rank) : rank
    if (!Array.isArray(list) || list.length !== specs.length) {
      throw new RangeError(
        `"rank": expected a number, 'frozen' or ${specs.length} of them, got ${show(rank)}` +
          (Array.isArray(rank) ? ` of ${rank.length}` : ''),
      )
    }
    // With methods that decide about ranks themselves, callers decide about freezing alone.
    const now = ranksIn(this.#layout)
    const given = ranked ? [] : method.ranks(specs, settings, settings.rank)
    const wanted = Array.from(list, (one: Rank, i) => {
      if (one === 'frozen') return FROZEN
      const at = labelOf(`rank[${i}]`, specs[i]!.name)
      const own = now[i] === FROZEN ? given[i] : now[i]
      if (!ranked && one !== own)
        throw wrongValue(at, `${own} or 'frozen' with ${method.name}`, one)
      integer(at, one, 0, MOST_RANK)
      return one
    })
    this.#rearrange(ranked ? decideRanks(specs, settings, wanted) : wanted)
  }

  #rearrange(ranks: readonly number[]): void {
    const { specs, algorithm } = this.#setup
    const layout = layoutOf(specs, ranks)
    const adopt = this.#prepare(layout, algorithm.rearrange(layout, this.#number))
    this.#arrange(layout)
    adopt()
  }

  *rescale(factor: number): Task<void> {
    aFloat('factor', factor)
    const norm = yield* this.norm()
    if (!(norm * Math.abs(factor) < MAX_RESIDUAL)) {
      throw new RangeError(
        `"factor": ${factor} times a residual of norm ${norm}: expected less than 2¹⁰⁰`,
      )
    }
    yield* wait(this.#setup.session.scale('residual', factor))
  }

  /** ‖residual‖₂ */
  *norm(): Task<number> {
    const squares = yield* wait(this.#setup.session.norms())
    return Math.sqrt(squares.reduce((sum, square) => sum + square, 0))
  }

  dispose(): void {
    this.#setup.session.dispose()
  }

  *#residual(): Task<Float32Array> {
    const values = new Float32Array(this.#layout.denseFloats)
    yield* wait(this.#setup.session.read(['residual'], values))
    return values
  }
}
