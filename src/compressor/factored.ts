// The methods for factored gradients, bound to the WebAssembly kernels that they compute with.
import { type DadOptions, dadMethod } from '../algorithms/factored/dad.ts'
import { factoredMethod } from '../algorithms/factored/powersgd.ts'
import { type RankDadOptions, rankDadMethod } from '../algorithms/factored/rank-dad.ts'
import { createWasmKernels } from '../backends/wasm/kernels.ts'
import type { Method } from '../options.ts'
import { takesNone } from '../validate.ts'

/**
 * PowerSGD for gradients given as activations and deltas (`Factored`). The frames equal those of
 * the default method, full steps, up to rounding.
 *
 * With `errorFeedback: 'none'`, the default here, the gradient deltasᵀ·activations of a matrix is
 * never formed: the update is the only array of its size that is written. What a step could not
 * send is lost. (A session still reserves memory for a residual, but does not write to it.) With
 * 'local' or 'aggregated' the product is formed and added to the residual, and the step goes on as
 * usual; this takes memory for a second model.
 *
 * Gradients must be arrays or `Factored`, not GPU tensors. A factored gradient of a parameter that
 * is not worth compressing is multiplied out and sent uncompressed. WebAssembly computes the
 * products on the calling thread, whatever the backend.
 *
 * @returns a value for `createCompressor(shapes, { method })`
 */
export function factored(...none: []): Method {
  takesNone(none)
  return factoredMethod(createWasmKernels)
}

/**
 * dAD (Baker et al., arXiv 2102.09631): every worker receives the activations and deltas of all
 * workers, in one gathered round per step, and forms the mean gradient from them. The update is
 * exact with float32 on the wire. There is no error feedback: what other wire types round away is
 * lost.
 *
 * Sending the factors of an n × m matrix is worth it if N·(n + m) < n·m, with N = `samples`: below
 * 512 samples for 1024 × 1024. For other matrices `plan` reports rank 0, and the gradient itself is
 * sent; it may be given as an array, or factored, and is then multiplied out. For a matrix that is
 * worth it, a gradient given as an array is sent whole. Uncompressed parameters travel in the same
 * frame. A step takes memory for a second model, which holds the mean.
 *
 * @returns a value for `createCompressor(shapes, { method })`
 * @throws TypeError, RangeError  naming the option that is not valid
 */
export function dad(options: DadOptions): Method {
  return dadMethod(createWasmKernels, options)
}

/**
 * rank-dAD (in the same paper as `dad`), the variant that communicates one way: every worker sends
 * at most `rank` leading singular vectors of its own gradient, and every worker adds up what all
 * have sent. The sum is not compressed again. There is neither error feedback nor a warm start:
 * what is not sent is lost. A step has one gathered round; gradients may have the forms that `dad`
 * takes.
 *
 * @returns a value for `createCompressor(shapes, { method })`
 * @throws TypeError, RangeError  naming the option that is not valid
 */
export function rankDad(options: RankDadOptions = {}): Method {
  return rankDadMethod(createWasmKernels, options)
}
