// The common part of the methods that treat the model as one long vector. Every parameter is raw, a
// step has one round, and nothing but the residual is kept between steps.

import type { Algorithm, Incoming, Outgoing, StepContext, StepGenerator } from '../../algorithm.ts'
import type { Layout } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import { runTask, wait } from '../../gensync.ts'
import { squaredNorm } from '../../linalg/products.ts'
import type { Method, Round, Settings, SharedOptions, Spec } from '../../options.ts'
import { refuseAggregated } from '../feedback.ts'
import { wholeSteps } from '../uncompressed.ts'

/** The shared options that every baseline supports. */
export const FLAT_OPTIONS = [
  'startCompressingAfter',
  'errorFeedback',
] as const satisfies (keyof SharedOptions)[]

/**
 * One such method: how it compresses M and decompresses what it receives. In m and update all
 * parameters lie end to end, in order, each by row: rawFloats floats.
 */
export interface FlatExchange {
  /**
   * Prepares the part of step `step` that does not depend on the gradient. It is called before
   * anything changes, so it may throw.
   */
  prepare?(step: number): void
  /** Computes what this worker sends of M, which is only read. */
  send(m: Float32Array): Outgoing
  /** m ← m − the vector that other workers decode from this worker's frame of this step */
  deflate(m: Float32Array): void
  /**
   * Decodes what all workers sent.
   *
   * @param update  zeros on entry; the mean on return
   */
  receive(mean: Incoming, update: Float32Array): void
}

/** A flat method: its name, its options and its exchange. */
export interface FlatMethod {
  readonly name: string
  /** its own options: workers must agree on them */
  readonly options?: Readonly<Record<string, unknown>>
  /** the shared options that it supports beside `FLAT_OPTIONS` */
  readonly supportedOptions?: readonly (keyof SharedOptions)[]
  /** the round of a step */
  round(layout: Layout): Round
  exchange(layout: Layout, settings: Settings): FlatExchange
}

/** Makes a method of a flat one. */
export function flat({
  name,
  options = {},
  supportedOptions = [],
  round,
  exchange,
}: FlatMethod): Method {
  return {
    name,
    options,
    supportedOptions: [...FLAT_OPTIONS, ...supportedOptions],
    check: refuseAggregated,
    ranks: (specs) => allRaw(name, specs),
    cycle: (layout) => [[round(layout)]],
    create: ({ layout, settings }) => new FlatStep(layout, (of) => exchange(of, settings)),
  }
}

/**
 * Rank 0 for every parameter.
 *
 * @throws RangeError  if a parameter has a `rank` or `compress: false` of its own
 */
function allRaw(name: string, specs: readonly Spec[]): number[] {
  return specs.map(({ rank, compress }, i) => {
    for (const [option, value] of Object.entries({ rank, compress })) {
      if (value === undefined || value === true) continue
      throw new RangeError(
        `"shapes[${i}].${option}": the method ${name} treats all parameters alike, got ${value}`,
      )
    }
    return 0
  })
}

class FlatStep implements Algorithm {
  readonly shared = wholeSteps.shared
  readonly #exchangeFor: (layout: Layout) => FlatExchange
  #exchange!: FlatExchange
  // Scratch, allocated once for a layout: rawFloats floats each.
  #m!: Float32Array
  #update!: Float32Array

  constructor(layout: Layout, exchangeFor: (layout: Layout) => FlatExchange) {
    this.#exchangeFor = exchangeFor
    this.rearrange(layout)()
  }

  prepare({ step }: StepContext): void {
    this.#exchange.prepare?.(step)
  }

  *step({ session, present }: StepContext): StepGenerator {
    const [m, update] = [this.#m, this.#update]
    if (present) yield* wait(session.read(['raw'], m))
    const mean = (yield this.#exchange.send(m)) as Incoming
    if (mean.counted) this.#exchange.deflate(m)
    this.#exchange.receive(mean, update.fill(0))
    const residual = mean.counted ? bytesOf(m) : null
    return {
      settle: (sink) =>
        runTask(
          (function* () {
            yield* wait(session.settle(false, bytesOf(update), sink))
            if (residual) session.write('raw', residual)
          })(),
          session.synchronous,
        ),
      squares: squaredNorm(update),
      raw: true,
    }
  }

  // There is no shared state. Ranks are 0, but other parameters may be frozen.
  load(layout: Layout): () => void {
    return this.rearrange(layout)
  }

  rearrange(layout: Layout): () => void {
    const exchange = this.#exchangeFor(layout)
    const [m, update] = [0, 0].map(() => new Float32Array(layout.rawFloats))
    return () => {
      this.#exchange = exchange
      this.#m = m!
      this.#update = update!
    }
  }
}

/** m[indices[j]] ← m[indices[j]] − values[j] */
export function subtractAt(m: Float32Array, indices: Uint32Array, values: Float32Array): void {
  for (let j = 0; j < values.length; j++) m[indices[j]!] = m[indices[j]!]! - values[j]!
}
