// Best rank r: each worker sends the truncated singular value decomposition of its own M, and every
// worker gets all of them. SVDReducer of epfml/powersgd, paper-code.

import type { Algorithm, Incoming, StepContext, StepGenerator } from '../../algorithm.ts'
import type { Layout, Session, Sink } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import { type Gathering, packData, unpackPart } from '../../codec/gathered.ts'
import { runTask, type Task, wait } from '../../gensync.ts'
import { gatedRanks, leftColumns, rawLengths, rightColumns } from '../../layout.ts'
import { dot, squaredNorm } from '../../linalg/products.ts'
import type { AlgorithmSetup, Gate, Method } from '../../options.ts'
import { takesNone } from '../../validate.ts'
import { refuseAggregated } from '../feedback.ts'
import { refuseClaims } from '../powersgd.ts'
import { wholeStep, wholeSteps } from '../uncompressed.ts'
import { FLAT_OPTIONS } from './flat.ts'
import { bestFactors } from './svd.ts'

/**
 * The best approximation of each worker's M that `rank` allows. A step of PowerSGD comes near it at
 * a fraction of the work. The update is the mean of all workers' approximations, so its rank is up
 * to workers · rank. Every worker gets the factors of all workers. Raw parameters travel in the
 * same frames.
 *
 * Singular vectors are computed in JavaScript, in float64 and from scratch in every step: for
 * millions of parameters that takes seconds. For comparison, not for training.
 *
 * Memory: a float32 array as large as the model. During the computation also float64 arrays as
 * large as some dozens of columns of the largest matrix.
 *
 * Defaults: those of the shared options. `errorFeedback: 'aggregated'` is refused with a
 * RangeError.
 *
 * Source: SVDReducer of epfml/powersgd, paper-code.
 */
export function bestRank(...none: []): Method {
  takesNone(none)
  return {
    name: 'bestRank',
    supportedOptions: [...FLAT_OPTIONS, 'rank', 'minCompressionRate'],
    check: refuseAggregated,
    gate: () => GATE,
    ranks: (specs, settings, wanted) => gatedRanks(specs, settings, wanted, GATE),
    cycle: (layout) =>
      layout.matrices.length === 0
        ? [[{ kind: 'summed', columns: rawLengths(layout) }]]
        : [[{ kind: 'gathered', columns: columnsOf(layout) }]],
    create: (setup) => new BestRank(setup),
  }
}

const GATE: Gate = { cost: (rows, cols, rank) => rank * (rows + cols) }

/**
 * The lengths of the columns of what one worker sends: a left arena P, a right arena Q, the raw
 * values.
 */
function columnsOf(layout: Layout): number[] {
  return [...leftColumns(layout), ...rightColumns(layout), ...rawLengths(layout)]
}

class BestRank implements Algorithm {
  readonly shared = wholeSteps.shared
  // Scratch, allocated once for a layout.
  /** M of all parameters, one after another */
  #m = new Float32Array(0)
  /** the floats that this worker sends: P, Q, raw values */
  #sent = new Float32Array(0)
  /** a right arena: share · Q of one worker */
  #scaledQ = new Float32Array(0)
  /** the mean of the raw parameters, later their encoding error */
  #raw = new Float32Array(0)

  readonly #setup: AlgorithmSetup
  #ranks: readonly number[] = []

  constructor(setup: AlgorithmSetup) {
    this.#setup = setup
    this.load(setup.layout)()
  }

  // This method does not use the session's projection of M, so the slot `qHat` may hold anything.
  prepare(): void {}

  *step(context: StepContext): StepGenerator {
    const { session, layout, present } = context
    if (layout.matrices.length === 0) return yield* wholeStep(context)
    if (present) {
      yield* wait(session.read(['residual'], this.#m))
      this.#approximate(layout)
    }
    const ownPart = { words: new Uint32Array(0), floats: this.#sent, columns: columnsOf(layout) }
    const gathered: Gathering = {
      pack: (type) => (isBounded(layout, this.#sent) ? packData(type, ownPart) : null),
      unpack: unpackPart,
      accepts: ({ words, floats }) =>
        words.length === 0 && floats.length === this.#sent.length && isBounded(layout, floats),
    }
    const mean = (yield { gathered }) as Incoming
    const { q, raw } = startsOf(layout)
    this.#raw.fill(0)
    for (const { weight, floats } of mean.parts) {
      const share = weight / mean.weight
      for (let i = 0; i < this.#raw.length; i++) {
        this.#raw[i] = this.#raw[i]! + share * floats[raw + i]!
      }
    }
    return {
      settle: (sink) => runTask(this.#settle(session, layout, mean, sink), session.synchronous),
      squares: squaresOfMean(layout, mean, q) + squaredNorm(this.#raw),
      raw: true,
    }
  }

  /**
   * Computes what this worker sends: the best factors of the matrices of M, then its raw values.
   */
  #approximate(layout: Layout): void {
    const starts = startsOf(layout)
    let at = 0
    for (const { length, rank, frozen, rows, cols, left, right, raw } of layout.parameters) {
      const m = this.#m.subarray(at, at + length)
      at += length
      if (frozen) continue
      const slice = (from: number, floats: number) => this.#sent.subarray(from, from + floats)
      if (rank === 0) slice(starts.raw + raw, length).set(m)
      else {
        const p = slice(left, rows * rank)
        bestFactors(m, rows, cols, rank, p, slice(starts.q + right, cols * rank))
      }
    }
  }

  /**
   * Ends the step. It gives the sink the update, one worker's approximation after another. If this
   * worker's frame counted, it then subtracts what the others decoded from that frame: M ← M −
   * P·Qᵀ, and the raw parameters keep their encoding error.
   */
  *#settle(session: Session, layout: Layout, mean: Incoming, sink: Sink | null): Task<void> {
    const { q, raw } = startsOf(layout)
    // If no worker's frame counted, the update is zero.
    const parts = mean.parts.length > 0 ? mean.parts : [null]
    for (const [i, part] of sink ? parts.entries() : []) {
      const share = part ? part.weight / mean.weight : 0
      const floats = part?.floats ?? this.#sent.fill(0)
      for (let j = 0; j < this.#scaledQ.length; j++) this.#scaledQ[j] = share * floats[q + j]!
      session.write('left', bytesOf(floats.subarray(0, q)))
      session.write('qMean', bytesOf(this.#scaledQ))
      const values = i === 0 ? bytesOf(this.#raw) : null
      const accumulate = sink!.accumulate || i > 0
      yield* wait(session.settle(false, values, { ...sink!, accumulate }))
    }
    if (!mean.counted) return
    session.write('left', bytesOf(this.#sent.subarray(0, q)))
    session.write('qLocal', bytesOf(this.#sent.subarray(q, raw)))
    yield* wait(session.settle(true, null, null))
    session.write('raw', bytesOf(this.#encodingError(layout)))
  }

  /**
   * The encoding error of the raw values, as a raw arena. It overwrites their mean, which the
   * sink has received by now.
   */
  #encodingError(layout: Layout): Float32Array {
    const starts = startsOf(layout)
    let at = 0
    for (const { length, rank, frozen, raw } of layout.parameters) {
      for (let i = 0; rank === 0 && !frozen && i < length; i++) {
        this.#raw[raw + i] = this.#m[at + i]! - this.#sent[starts.raw + raw + i]!
      }
      at += length
    }
    return this.#raw
  }

  load(layout: Layout): () => void {
    refuseClaims(this.#setup, layout, [], this.#ranks)
    return this.rearrange(layout)
  }

  rearrange(layout: Layout): () => void {
    const { denseFloats, leftFloats, rightFloats, rawFloats } = layout
    const m = new Float32Array(denseFloats)
    const sent = new Float32Array(leftFloats + rightFloats + rawFloats)
    const scaledQ = new Float32Array(rightFloats)
    const raw = new Float32Array(rawFloats)
    return () => {
      this.#ranks = layout.parameters.map(({ rank }) => rank)
      this.#m = m
      this.#sent = sent
      this.#scaledQ = scaledQ
      this.#raw = raw
    }
  }
}

/** Where Q and the raw values begin in what a worker sends, in floats; P begins at 0. */
function startsOf({ leftFloats, rightFloats }: Layout): { q: number; raw: number } {
  return { q: leftFloats, raw: leftFloats + rightFloats }
}

/**
 * Whether no product P·Qᵀ can overflow: no element of it exceeds ‖P‖·‖Q‖.
 *
 * @param floats  what one worker sends
 */
function isBounded(layout: Layout, floats: Float32Array): boolean {
  const { q } = startsOf(layout)
  return layout.matrices.every(({ rows, cols, rank, left, right }) => {
    const squaresP = squaredNorm(floats.subarray(left, left + rows * rank))
    const squaresQ = squaredNorm(floats.subarray(q + right, q + right + cols * rank))
    return squaresP * squaresQ < MAX_PRODUCT ** 2
  })
}

/** The bound of ‖P‖·‖Q‖, as of elements of M. */
const MAX_PRODUCT = 2 ** 100

/**
 * ‖Σ share·P·Qᵀ‖², summed over all workers and matrices, from the inner products of all workers'
 * columns.
 *
 * @param start  where Q begins in what a worker sends
 */
function squaresOfMean(layout: Layout, { parts, weight: total }: Incoming, start: number): number {
  let sum = 0
  for (const { rows, cols, rank, left, right } of layout.matrices) {
    const columns = parts.flatMap(({ weight, floats }) =>
      Array.from({ length: rank }, (_, k) => ({
        share: weight / total,
        p: floats.subarray(left + k * rows, left + (k + 1) * rows),
        q: floats.subarray(start + right + k * cols, start + right + (k + 1) * cols),
      })),
    )
    for (const [i, one] of columns.entries()) {
      for (const other of columns.slice(0, i + 1)) {
        const product = one.share * other.share * dot(one.p, other.p) * dot(one.q, other.q)
        sum += one === other ? product : 2 * product
      }
    }
  }
  return Math.max(0, sum) // rounding can make a zero norm slightly negative
}
