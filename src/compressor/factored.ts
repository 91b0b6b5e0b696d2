// Methods for factored gradients, with the kernels that they compute with.
import { type DadOptions, dadMethod } from '../algorithms/factored/dad.ts'
import { factoredMethod } from '../algorithms/factored/powersgd.ts'
import { type RankDadOptions, rankDadMethod } from '../algorithms/factored/rank-dad.ts'
import { createWasmKernels } from '../backends/wasm/kernels.ts'
import type { Method } from '../options.ts'

/**
 * PowerSGD on the product: full steps, with the same frames as without a method, to rounding.
 *
 * `errorFeedback: 'none'` (its default): of a matrix given as activations and deltas nothing as large as
 * its gradient is formed or written, except for the update; what a step could not send is lost. (A
 * session still sets memory aside for a residual; nothing is written there.) 'local' or 'aggregated':
 * the product is formed and added to the residual, and then the step is the usual one; it takes memory for
 * a second model.
 *
 * Gradients are arrays, factored or not; what does not pay and is factored all the same is multiplied out and
 * sent as it is. Their products are computed by WebAssembly on the calling thread, whatever the backend.
 */
export function factored(): Method {
  return factoredMethod(createWasmKernels)
}

/**
 * dAD (Baker et al., arXiv 2102.09631): everyone's activations and deltas are gathered, one round a step, and
 * everyone forms the mean gradient of them. Exact with float32 on the wire; what other types lose is lost,
 * for there is no feedback.
 *
 * A matrix of n × m pays iff N·(n + m) < n·m, with N = `samples`: below 512 for 1024 × 1024. `plan`
 * says rank 0 of those that do not: then what is sent is the gradient, which may be given as it is, or
 * factored, to be multiplied out. Of those that pay, a gradient that is not factored is sent whole. Raw
 * parameters travel in the same frame. A step takes memory for a second model, for the mean.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function dad(options: DadOptions): Method {
  return dadMethod(createWasmKernels, options)
}

/**
 * rank-dAD, its one-way variant: every worker sends the leading singular vectors of its own product, at most
 * `rank` of them, and everyone adds up what all have sent; the sum is not compressed once more. What is not
 * sent is lost: there is no feedback, and no warm start. One round a step, gathered: see `dad`, also for
 * what may be given.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function rankDad(options: RankDadOptions = {}): Method {
  return rankDadMethod(createWasmKernels, options)
}
