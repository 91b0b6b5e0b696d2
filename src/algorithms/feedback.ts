// Error feedback: what a worker keeps of M, its gradient and residual, when its frame has counted. Here is
// the meaning of `errorFeedback` for each way of sending; a new way of feeding back begins here.
//
//                           'local'                    'aggregated'                'none'
//   full step, matrices     M − P̂·Qᵀ                   M − P̂·Q̄ᵀ                   0
//   full step, raw          what encoding lost         the same; pytorch(): M − g  0
//   half-steps, matrices    M − P·Q̂ᵀ or M − P̂·Qᵀ       refused                     0
//   half-steps, raw         what encoding lost         refused                     0
//   baselines               M − what others decode     refused                     0
//   factored(), matrices    as a full step             as a full step              0, and M is not formed
//   dion(), matrices        has no choice: M − (1 − momentum)·P̂·Q̄ᵀ, a momentum
//   dad(), rankDad()        have no choice: 0
//
// Q is the factor as the others decode it from the worker's own frame, Q̄ the mean of all, g the mean of the
// raw gradients. A worker whose frame has not counted keeps M.
import type { Finish } from '../algorithm.ts'
import type { Layout, Session, Sink } from '../backend.ts'
import { bytesOf } from '../bytes.ts'
import { wait } from '../gensync.ts'
import type { Settings } from '../options.ts'

/** @throws RangeError  if feedback is to be taken from the mean, for methods that cannot */
export function refuseAggregated({ errorFeedback, method }: Settings): void {
  if (errorFeedback !== 'aggregated') return
  throw new RangeError(
    `"errorFeedback": expected 'local' or 'none' with ${method.name}, got 'aggregated'`,
  )
}

/** Whether nothing is kept: then all of M is cleared after each step, whatever has counted. */
export function keepsNothing({ errorFeedback }: Settings): boolean {
  return errorFeedback === 'none'
}

/** Whether M loses what the worker has sent, when a full step ends. */
export function deflates(settings: Settings, counted: boolean): boolean {
  return counted && !keepsNothing(settings)
}

/**
 * Puts into the slot `qLocal` the factor whose product with P̂ᵀ M is to lose: it holds the worker's own Q.
 *
 * @param qMean  Q̄, as bytes
 */
export function chooseDeflation(session: Session, settings: Settings, qMean: Uint8Array): void {
  if (settings.errorFeedback === 'aggregated') session.write('qLocal', qMean)
}

/**
 * Scratch for `keepRawDeviation`: empty where raw parameters have no feedback of their own.
 *
 * @param rawDeviation  whether aggregated feedback is for raw parameters, too
 */
export function rawDeviationOf(layout: Layout, { errorFeedback }: Settings, rawDeviation = false) {
  return new Float32Array(rawDeviation && errorFeedback === 'aggregated' ? layout.rawFloats : 0)
}

/**
 * How a step ends after which raw parameters keep M − mean.
 *
 * @param deviation  scratch, as long as all raw values
 * @param mean  of the raw values, as little-endian float32
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
