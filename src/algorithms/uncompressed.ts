// Everything as it is: the whole gradient, with what is pending, in one round.
import type { Algorithm, Incoming, StepContext, StepGenerator } from '../algorithm.ts'

/** Of plans, or steps, without matrices. */
export const wholeSteps: Algorithm = {
  shared: { right: new Float32Array(0), left: new Float32Array(0), notes: {} },
  prepare() {},
  step: wholeStep,
  load() {},
  rearrange() {},
}

/** One round with all that is raw. */
export function* wholeStep({ session }: StepContext): StepGenerator {
  const { values, counted } = (yield { slots: ['raw'] }) as Incoming
  return { settle: (sink) => session.settle(counted, values, sink), squares: null }
}
