// What the methods have in common that take the model for one long vector: every parameter is raw, one
// round, nothing kept between steps but the residual.

import type { Algorithm, Incoming, Outgoing, StepContext, StepGenerator } from '../../algorithm.ts'
import type { Layout } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import { runTask, wait } from '../../gensync.ts'
import { squaredNorm } from '../../linalg/products.ts'
import type { AlgorithmSetup, Method, Round, Settings, SharedOptions, Spec } from '../../options.ts'
import { refuseAggregated } from '../feedback.ts'
import { wholeSteps } from '../uncompressed.ts'

/** The shared options that mean something to every baseline. */
export const FLAT_OPTIONS = [
  'startCompressingAfter',
  'errorFeedback',
] as const satisfies (keyof SharedOptions)[]

/** What a worker sends of M, and what it makes of what it gets. All parameters lie end to end. */
export interface FlatExchange {
  /** What the gradient has no part in. Nothing has changed yet if it throws. */
  prepare?(step: number): void
  send(m: Float32Array): Outgoing
  /** m ← m − what others have decoded of this worker's own */
  deflate(m: Float32Array): void
  /** @param update  zero; gets the mean */
  receive(mean: Incoming, update: Float32Array): void
}

/** What makes one such method. */
export interface FlatMethod {
  readonly name: string
  readonly options?: Readonly<Record<string, unknown>>
  readonly heeds?: readonly (keyof SharedOptions)[]
  round(layout: Layout): Round
  exchange(layout: Layout, settings: Settings): FlatExchange
}

export function flat({ name, options = {}, heeds = [], round, exchange }: FlatMethod): Method {
  return {
    name,
    options,
    supportedOptions: [...FLAT_OPTIONS, ...heeds],
    check: refuseAggregated,
    ranks: (specs) => allRaw(name, specs),
    cycle: (layout) => [[round(layout)]],
    create: (setup) => new FlatStep(setup, exchange(setup.layout, setup.settings)),
  }
}

/** @throws RangeError  if one parameter is to be treated unlike the others */
function allRaw(name: string, specs: readonly Spec[]): number[] {
  return specs.map(({ rank, compress }, i) => {
    for (const [wish, value] of Object.entries({ rank, compress })) {
      if (value === undefined || value === true) continue
      throw new RangeError(
        `"shapes[${i}].${wish}": the method ${name} treats all parameters alike, got ${value}`,
      )
    }
    return 0
  })
}

class FlatStep implements Algorithm {
  readonly shared = wholeSteps.shared
  readonly #exchange: FlatExchange
  // Scratch, made once: each as large as the model.
  readonly #m: Float32Array
  readonly #update: Float32Array

  constructor({ layout }: AlgorithmSetup, exchange: FlatExchange) {
    this.#exchange = exchange
    this.#m = new Float32Array(layout.rawFloats)
    this.#update = new Float32Array(layout.rawFloats)
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

  // There is nothing that others would have, and ranks are always 0.
  load(): void {}
  rearrange(): void {}
}

/** m[indices[j]] ← m[indices[j]] − values[j] */
export function subtractAt(m: Float32Array, indices: Uint32Array, values: Float32Array): void {
  for (let j = 0; j < values.length; j++) m[indices[j]!] = m[indices[j]!]! - values[j]!
}
