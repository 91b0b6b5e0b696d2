// Best rank r: each worker sends the truncated singular value decomposition of its own M, and everyone
// gets everyone's. SVDReducer of epfml/powersgd, paper-code.

import type { Algorithm, Incoming, StepContext, StepGenerator } from '../../algorithm.ts'
import type { Layout, Session, Sink } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import type { Part } from '../../codec/gathered.ts'
import { gathering } from '../../codec/gathered.ts'
import { runTask, type Task, wait } from '../../gensync.ts'
import { gatedRanks, leftColumns, rawLengths, rightColumns } from '../../layout.ts'
import { dot, squaredNorm } from '../../linalg/products.ts'
import type { AlgorithmSetup, Method } from '../../options.ts'
import { refuseAggregated } from '../feedback.ts'
import { wholeStep, wholeSteps } from '../uncompressed.ts'
import { FLAT_OPTIONS } from './flat.ts'
import { bestFactors } from './svd.ts'

/**
 * The best approximation of each worker's M that `rank` allows: what a step of PowerSGD comes near at
 * a fraction of the work. The update is the mean of all workers' approximations, of rank up to workers ·
 * rank; everyone's factors go to everyone. Raw parameters travel in the same frames.
 *
 * Singular vectors are computed in JavaScript, in float64, from scratch in every step: for millions of
 * parameters that takes seconds. For comparison, not for training.
 *
 * Memory: an array as large as the model in float32, and while it computes one in float64 as large
 * as some dozens of columns of the largest matrix.
 */
export function bestRank(): Method {
  return {
    name: 'bestRank',
    supportedOptions: [...FLAT_OPTIONS, 'rank', 'minCompressionRate'],
    check: refuseAggregated,
    ranks: (specs, settings, wanted) =>
      gatedRanks(specs, settings, wanted, { cost: (rows, cols, rank) => rank * (rows + cols) }),
    cycle: (layout) =>
      layout.matrices.length === 0
        ? [[{ kind: 'summed', columns: rawLengths(layout) }]]
        : [[{ kind: 'gathered', columns: columnsOf(layout) }]],
    create: (setup) => new BestRank(setup),
  }
}

/** P, Q, raw values: each an arena. */
function columnsOf(layout: Layout): number[] {
  return [...leftColumns(layout), ...rightColumns(layout), ...rawLengths(layout)]
}

class BestRank implements Algorithm {
  readonly shared = wholeSteps.shared
  // Scratch, made once: M, as large as the model; what is sent; a right arena; raw values.
  #m = new Float32Array(0)
  #own = new Float32Array(0)
  #right = new Float32Array(0)
  #raw = new Float32Array(0)

  constructor({ layout }: AlgorithmSetup) {
    this.rearrange(layout)
  }

  // The query stays what it is: what M is multiplied by on its way in plays no part.
  prepare(): void {}

  *step(context: StepContext): StepGenerator {
    const { session, layout, present } = context
    if (layout.matrices.length === 0) return yield* wholeStep(context)
    if (present) {
      yield* wait(session.read(['residual'], this.#m))
      this.#approximate(layout)
    }
    const own = { words: new Uint32Array(0), floats: this.#own, columns: columnsOf(layout) }
    const refuse = (part: Part) => this.#refuse(part)
    const mean = (yield { gathered: gathering(own, refuse) }) as Incoming
    const { left, raw } = startsOf(layout)
    this.#raw.fill(0)
    for (const { weight, floats } of mean.parts) {
      const share = weight / mean.weight
      for (let i = 0; i < this.#raw.length; i++) {
        this.#raw[i] = this.#raw[i]! + share * floats[raw + i]!
      }
    }
    return {
      settle: (sink) => runTask(this.#settle(session, layout, mean, sink), session.synchronous),
      squares: squaresOfMean(layout, mean, left) + squaredNorm(this.#raw),
      raw: true,
    }
  }

  /** own ← the best factors of M's matrices, then its raw values */
  #approximate(layout: Layout): void {
    const starts = startsOf(layout)
    let at = 0
    for (const { length, rank, rows, cols, left, right, raw } of layout.parameters) {
      const m = this.#m.subarray(at, at + length)
      at += length
      const slice = (from: number, floats: number) => this.#own.subarray(from, from + floats)
      if (rank === 0) slice(starts.raw + raw, length).set(m)
      else {
        const p = slice(left, rows * rank)
        bestFactors(m, rows, cols, rank, p, slice(starts.left + right, cols * rank))
      }
    }
  }

  /** The update, one worker's part of it after another; then M ← M − what this worker's own frame says. */
  *#settle(session: Session, layout: Layout, mean: Incoming, sink: Sink | null): Task<void> {
    const { left, raw } = startsOf(layout)
    const parts = mean.parts.length > 0 ? mean.parts : [null] // nobody's: zeros
    for (const [i, part] of sink ? parts.entries() : []) {
      const share = part ? part.weight / mean.weight : 0
      const floats = part?.floats ?? this.#own.fill(0)
      for (let j = 0; j < this.#right.length; j++) this.#right[j] = share * floats[left + j]!
      session.write('left', bytesOf(floats.subarray(0, left)))
      session.write('qMean', bytesOf(this.#right))
      const values = i === 0 ? bytesOf(this.#raw) : null
      const accumulate = sink!.accumulate || i > 0
      yield* wait(session.settle(false, values, { ...sink!, accumulate }))
    }
    if (!mean.counted) return
    session.write('left', bytesOf(this.#own.subarray(0, left)))
    session.write('qLocal', bytesOf(this.#own.subarray(left, raw)))
    yield* wait(session.settle(true, null, null))
    session.write('raw', bytesOf(this.#lost(layout)))
  }

  /** What raw values have lost on the wire: in place of their mean, which has been handed out. */
  #lost(layout: Layout): Float32Array {
    const starts = startsOf(layout)
    let at = 0
    for (const { length, rank, raw } of layout.parameters) {
      for (let i = 0; rank === 0 && i < length; i++) {
        this.#raw[raw + i] = this.#m[at + i]! - this.#own[starts.raw + raw + i]!
      }
      at += length
    }
    return this.#raw
  }

  #refuse({ words, floats }: Part): string | null {
    if (words.length === 0 && floats.length === this.#own.length) return null
    return `expected ${this.#own.length} floats, got ${floats.length} and ${words.length} words`
  }

  load(layout: Layout): void {
    this.rearrange(layout)
  }

  rearrange(layout: Layout): void {
    const { denseFloats, leftFloats, rightFloats, rawFloats } = layout
    this.#m = new Float32Array(denseFloats)
    this.#own = new Float32Array(leftFloats + rightFloats + rawFloats)
    this.#right = new Float32Array(rightFloats)
    this.#raw = new Float32Array(rawFloats)
  }
}

/** Where left factors end, and raw values begin, in what is sent. */
function startsOf({ leftFloats, rightFloats }: Layout): { left: number; raw: number } {
  return { left: leftFloats, raw: leftFloats + rightFloats }
}

/** ‖Σ share·P·Qᵀ‖² over the matrices: of inner products of all workers' columns with each other. */
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
  return Math.max(0, sum) // rounding must not make a square negative
}
