// Dion: a momentum of which low-rank products are sent, and an update with orthonormal columns. Ahn
// et al. 2025 (arXiv 2504.05295), as in microsoft/dion with one power iteration.

import type { Incoming, LoadedState, StepContext, StepGenerator } from '../algorithm.ts'
import type { Layout } from '../backend.ts'
import { bytesOf } from '../bytes.ts'
import { wait } from '../gensync.ts'
import { gatedRanks } from '../layout.ts'
import type { AlgorithmSetup, Method } from '../options.ts'
import { knownOptions, number } from '../validate.ts'
import { FullStep, fullRounds, gateOf } from './powersgd.ts'
import { wholeStep } from './uncompressed.ts'

/**
 * Dion: the update is an orthonormalized momentum of low rank, in place of the mean gradient.
 *
 * M is each worker's momentum. A step computes
 *   M ← M + g
 *   P̂ ← orthonormalize(mean of M·Q)
 *   R̄ ← mean of Mᵀ·P̂
 *   M ← M − (1 − momentum)·P̂·R̄ᵀ
 *   Q ← R̄ with columns of length 1
 *   update = P̂·Qᵀ
 *
 * The `rank` columns of P̂ and of Q have length 1, whatever the size of the gradients. The rest of
 * the optimizer is the caller's: to subtract the update from the parameters, times the learning
 * rate and √(fan_out ÷ fan_in), which is √(rows ÷ cols) for a linear layer; and to decay the
 * weights.
 *
 * Raw parameters, such as vectors, get the plain mean of their gradients, without momentum. Where a
 * column of R̄ is zero, the update has a zero column and Q keeps its old one. If M has a lower rank
 * than `rank`, some columns of R̄ are only rounding noise; they count like any other. M decays on
 * purpose, so the sum of updates and residuals is not the sum of the gradients.
 *
 * Default of the shared option `minCompressionRate`: 0.
 *
 * @param options.momentum  at least 0, below 1. Default 0.95.
 * @throws TypeError, RangeError  naming the option
 */
export function dion(options: { readonly momentum?: number } = {}): Method {
  const { momentum = 0.95 } = knownOptions(options, ['momentum'])
  number('momentum', momentum, 'from 0, below 1', (x) => x >= 0 && x < 1)
  return {
    name: 'dion',
    options: { momentum },
    supportedOptions: ['rank', 'seed', 'minCompressionRate'],
    // Whether a matrix gets an orthonormal update must not depend on its size.
    defaults: { minCompressionRate: 0 },
    gate: gateOf,
    ranks: (specs, settings, wanted) => gatedRanks(specs, settings, wanted, gateOf(settings)),
    cycle: (layout, settings) => [fullRounds(layout, settings)],
    create: (setup) => new Dion(setup, momentum),
  }
}

class Dion extends FullStep {
  readonly #momentum: number
  /** scratch, a right arena: R̄, or its multiples, on the way into a slot */
  #columns = new Float32Array(0)

  constructor(setup: AlgorithmSetup, momentum: number) {
    super(setup, { qAsIs: true })
    this.#momentum = momentum
  }

  /** Refuses a Q so large that, used as it is, it would keep this worker from every step. */
  override load(layout: Layout, loaded: LoadedState, step: number): () => void {
    if (!loaded.right.every((q) => q?.every((x) => Math.abs(x) < 2 ** 32) ?? true)) {
      throw new RangeError('"checkpoint": q: expected numbers below 2³² only')
    }
    return super.load(layout, loaded, step)
  }

  override *step(context: StepContext): StepGenerator {
    const { session, layout } = context
    if (layout.matrices.length === 0) return yield* wholeStep(context)
    yield* this.leftRound(context)
    if (context.present) yield* wait(session.backproject())
    const { values, counted } = (yield { slots: ['qLocal', 'raw'] }) as Incoming
    const rMean = values.subarray(0, 4 * layout.rightFloats)

    const { rightFloats } = layout
    if (this.#columns.length !== rightFloats) this.#columns = new Float32Array(rightFloats)
    const columns = this.#columns
    bytesOf(columns).set(rMean)
    for (let i = 0; i < columns.length; i++) columns[i] = (1 - this.#momentum) * columns[i]!
    session.write('qLocal', bytesOf(columns))

    bytesOf(columns).set(rMean)
    const q = this.shared.right
    let squares = 0 // ‖update‖²: P̂ is orthonormal, and these columns have length 1
    for (const { cols, rank, right } of layout.matrices) {
      for (let k = 0; k < rank; k++) {
        const at = right + k * cols
        const column = columns.subarray(at, at + cols)
        if (!normalize(column)) continue
        q.set(column, at)
        squares++
      }
    }
    session.write('qMean', bytesOf(columns))
    const raw = values.subarray(4 * layout.rightFloats)
    return { settle: (sink) => session.settle(counted, raw, sink), squares }
  }
}

/**
 * Divides a column by its length, in place. The length is one float64 sum in ascending order, so
 * its bits are the same on every worker.
 *
 * @returns false if the column is zero; then it stays zero
 */
function normalize(column: Float32Array): boolean {
  let sum = 0
  for (const x of column) sum += x * x
  const length = Math.sqrt(sum)
  if (length === 0) return false
  for (let i = 0; i < column.length; i++) column[i] = column[i]! / length
  return true
}
