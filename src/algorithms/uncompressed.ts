// No compression: all of M, gradient plus residual, is averaged in one round.
import type { Algorithm, Incoming, StepContext, StepGenerator } from '../algorithm.ts'

/** Replaces the state of an algorithm that has none. */
export function nothing(): void {}

/**
 * The algorithm for layouts without matrices, and for the steps before `startCompressingAfter`.
 */
export const wholeSteps: Algorithm = {
  shared: { right: new Float32Array(0), left: new Float32Array(0), notes: {} },
  prepare() {},
  step: wholeStep,
  load: () => nothing,
  rearrange: () => nothing,
}

/**
 * One uncompressed step. All parameters of its layout are raw. `framing.settleRaw` then leaves the
 * encoding error in the residual.
 */
export function* wholeStep({ session }: StepContext): StepGenerator {
  const { values, counted } = (yield { slots: ['raw'] }) as Incoming
  return { settle: (sink) => session.settle(counted, values, sink), squares: null }
}
