// Dion: a momentum that no worker sends whole, and an update of low rank with orthonormal columns. Ahn
// et al. 2025 (arXiv 2504.05295); as in microsoft/dion, with one power iteration.

import type { Incoming, StepContext, StepGenerator } from '../algorithm.ts'
import { bytesOf } from '../bytes.ts'
import { wait } from '../gensync.ts'
import { gatedRanks } from '../layout.ts'
import type { AlgorithmSetup, Method } from '../options.ts'
import { show } from '../validate.ts'
import { costOf, FullStep, fullRounds } from './powersgd.ts'
import { wholeStep } from './uncompressed.ts'

/**
 * Dion's update in place of the mean gradient.
 *
 * M, each worker's momentum: M ← M + g. P̂ ← orthonormalize(mean of M·Q); R̄ ← mean of Mᵀ·P̂;
 * M ← M − (1 − momentum)·P̂·R̄ᵀ; Q ← R̄ with columns of length 1; update = P̂·Qᵀ. Its `rank` columns on
 * either side have length 1, whatever the size of the gradients. The rest of the optimiser is the
 * caller's: to take it from the parameters, times a learning rate and √(fan_out ÷ fan_in), √(rows ÷ cols)
 * of a linear layer; to decay weights.
 *
 * What travels raw, vectors say, gets the plain mean of its gradients, and no momentum is kept of it. A
 * column of R̄ that is zero is zero in the update, and Q keeps the one it had; one that is rounding noise,
 * of an M of lower rank, counts like any other. Books do not balance: M is meant to decay.
 *
 * @param momentum  from 0, below 1. Default 0.95.
 * @throws TypeError, RangeError
 */
export function dion({ momentum = 0.95 }: { readonly momentum?: number } = {}): Method {
  if (typeof momentum !== 'number') {
    throw new TypeError(`"momentum": expected a number, got ${show(momentum)}`)
  }
  if (!(momentum >= 0 && momentum < 1)) {
    throw new RangeError(`"momentum": expected from 0, below 1, got ${momentum}`)
  }
  return {
    name: 'dion',
    options: { momentum },
    supportedOptions: ['rank', 'seed', 'minCompressionRate'],
    // What kind of update a matrix gets must not depend on its size.
    defaults: { minCompressionRate: 0 },
    ranks: (specs, settings, wanted) =>
      gatedRanks(specs, settings, wanted, { cost: costOf(settings) }),
    cycle: (layout, settings) => [fullRounds(layout, settings)],
    create: (setup) => new Dion(setup, momentum),
  }
}

class Dion extends FullStep {
  readonly #momentum: number
  /** a right arena: what is written into slots */
  #columns = new Float32Array(0)

  constructor(setup: AlgorithmSetup, momentum: number) {
    super(setup, { asIs: true })
    this.#momentum = momentum
  }

  override *step(context: StepContext): StepGenerator {
    const { session, layout } = context
    if (layout.matrices.length === 0) return yield* wholeStep(context)
    yield* this.leftRound(context)
    if (context.present) yield* wait(session.backproject())
    const { values, counted } = (yield { slots: ['qLocal', 'raw'] }) as Incoming
    const mean = values.subarray(0, 4 * layout.rightFloats)

    const { rightFloats } = layout
    if (this.#columns.length !== rightFloats) this.#columns = new Float32Array(rightFloats)
    const columns = this.#columns
    bytesOf(columns).set(mean)
    for (let i = 0; i < columns.length; i++) columns[i] = (1 - this.#momentum) * columns[i]!
    session.write('qLocal', bytesOf(columns))

    bytesOf(columns).set(mean)
    const query = this.shared.right
    let squares = 0 // ‖update‖²: P̂ is orthonormal, and these columns have length 1
    for (const { cols, rank, right } of layout.matrices) {
      for (let k = 0; k < rank; k++) {
        const at = right + k * cols
        const column = columns.subarray(at, at + cols)
        if (!normalize(column)) continue
        query.set(column, at)
        squares++
      }
    }
    session.write('qMean', bytesOf(columns))
    const raw = values.subarray(4 * layout.rightFloats)
    return { settle: (sink) => session.settle(counted, raw, sink), squares }
  }
}

/** Makes it of length 1, with the same bits everywhere: one sum in float64, in order. False for zeros. */
function normalize(column: Float32Array): boolean {
  let sum = 0
  for (const x of column) sum += x * x
  const length = Math.sqrt(sum)
  if (length === 0) return false
  for (let i = 0; i < column.length; i++) column[i] = column[i]! / length
  return true
}
