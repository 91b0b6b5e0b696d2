// Error feedback: the part of M, gradient plus residual, that a worker keeps for the next step once
// its frame has counted, that is, once it is in the mean. This table gives the meaning of
// `errorFeedback` for each method. A new way of feeding back begins here.
//
//                           'local'                    'aggregated'                'none'
//   full step, matrices     M − P̂·Qᵀ                   M − P̂·Q̄ᵀ                   0
//   full step, raw          encoding error             the same; pytorch(): M − m̄  0
//   half-steps, matrices    M − P·Q̂ᵀ or M − P̂·Qᵀ       refused                     0
//   half-steps, raw         encoding error             refused                     0
//   baselines               M − what others decode     refused                     0
//   factored(), matrices    as a full step             as a full step              0; M not formed
//   dion(), matrices        no choice: M − (1 − momentum)·P̂·Q̄ᵀ; M is Dion's momentum
//   dad(), rankDad()        no choice: 0
//
// P and Q are the factors that the other workers decode from the worker's own frame. Q̄ is the mean
// of all workers' Q, m̄ that of their raw values. P̂ and Q̂ are the orthonormal bases that all workers
// have in common. The encoding error is M minus the values that others decode; it is 0 with wire
// 'f32'. A worker whose frame has not counted keeps all of M, except with 'none'.
//
// Where it happens: full steps call the functions below; half-steps and baselines subtract in their
// own files what they have sent; framing.ts keeps the encoding error of raw values; worker-state.ts
// clears M for 'none'.
import type { Finish } from '../algorithm.ts'
import type { Layout, Session, Sink } from '../backend.ts'
import { bytesOf } from '../bytes.ts'
import { wait } from '../gensync.ts'
import type { Settings } from '../options.ts'

/**
 * Refuses `errorFeedback: 'aggregated'`, for methods that do not support it.
 *
 * @throws RangeError  naming the option and the method
 */
export function refuseAggregated({ errorFeedback, method }: Settings): void {
  if (errorFeedback !== 'aggregated') return
  throw new RangeError(
    `"errorFeedback": expected 'local' or 'none' with ${method.name}, got 'aggregated'`,
  )
}

/**
 * Whether no residual is kept. Then all of M is cleared after every step, whether or not the
 * worker's frame has counted.
 */
export function keepsNothing({ errorFeedback }: Settings): boolean {
  return errorFeedback === 'none'
}

/**
 * Chooses the right factor of the product that is subtracted from M, and leaves it in the slot
 * `qLocal`: the worker's own Q, which is there already, or Q̄ with `errorFeedback: 'aggregated'`.
 *
 * @param qMean  Q̄, as bytes
 */
export function chooseDeflation(session: Session, settings: Settings, qMean: Uint8Array): void {
  if (settings.errorFeedback === 'aggregated') session.write('qLocal', qMean)
}

/**
 * Allocates the scratch of `keepRawDeviation`: rawFloats floats, or none if raw parameters keep no
 * deviation from the mean.
 *
 * @param rawDeviation  see `Variant.rawDeviation`
 */
export function rawDeviationOf(layout: Layout, { errorFeedback }: Settings, rawDeviation = false) {
  return new Float32Array(rawDeviation && errorFeedback === 'aggregated' ? layout.rawFloats : 0)
}

/**
 * The end of a step after which raw parameters keep M − mean. Reads M of the raw parameters now,
 * before `settle` changes anything.
 *
 * @param finish  the end of the step without that
 * @param deviation  scratch, rawFloats floats: holds M − mean until `settle` is called
 * @param mean  of the raw parameters, as little-endian float32 at any alignment
 */
export function* keepRawDeviation(
  session: Session,
  finish: Finish,
  deviation: Float32Array,
  mean: Uint8Array,
): Generator<Promise<unknown>, Finish, unknown> {
  yield* wait(session.read(['raw'], deviation))
  const view = new DataView(mean.buffer, mean.byteOffset, mean.byteLength)
  for (let i = 0; i < deviation.length; i++) {
    deviation[i] = deviation[i]! - view.getFloat32(4 * i, true)
  }
  return {
    ...finish,
    settle(sink: Sink | null) {
      session.write('raw', bytesOf(deviation))
      return finish.settle(sink)
    },
    raw: true,
  }
}
