// PowerSGD as in PyTorch's communication hook,
// torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook of PyTorch 1.13.1.

import { gatedRanks } from '../../layout.ts'
import type { Gate, Method, Settings } from '../../options.ts'
import { takesNone } from '../../validate.ts'
import { costOf, FULL_STEP_OPTIONS, FullStep, fullRounds } from '../powersgd.ts'

/**
 * PowerSGD as PyTorch's powerSGD_hook computes it, up to the rounding of float32.
 *
 * Every parameter passes through the gate, vectors as n × 1. With a `minCompressionRate` below 1
 * they may be compressed.
 *
 * Error feedback is aggregated, for raw parameters too: each worker keeps M − mean of its own M.
 * Over the fleet these residuals sum to zero, and they change no update while every worker takes
 * part with a weight that never changes. But they may grow, and a worker that leaves takes its
 * residual along.
 *
 * Three things differ from the hook. A zero or dependent column of P̂ is replaced, where the hook
 * at ranks 1 and 2 divides by zero and stays NaN. There is no epsilon. And `rank` and
 * `startCompressingAfter` default to 4 and 0, as everywhere in this library; the hook's defaults
 * are 1 and 1000.
 *
 * `errorFeedback: 'none'` is the hook's `use_error_feedback=False`. How the hook groups parameters
 * into buckets changes only the packing, not the result. Its batched form, which treats a bucket as
 * one square matrix, is in examples/buckets.
 *
 * Defaults: `errorFeedback: 'aggregated'`, otherwise those of the shared options.
 *
 * Source: torch/distributed/algorithms/ddp_comm_hooks/powerSGD_hook.py, PyTorch 1.13.1.
 */
export function pytorch(...none: []): Method {
  takesNone(none)
  return {
    name: 'pytorch',
    supportedOptions: FULL_STEP_OPTIONS,
    defaults: { errorFeedback: 'aggregated' },
    firstAxis: true,
    gate,
    ranks: (specs, settings, wanted) => gatedRanks(specs, settings, wanted, gate(settings)),
    cycle: (layout, settings) => [fullRounds(layout, settings)],
    create: (setup) => new FullStep(setup, { rawDeviation: true }),
  }
}

function gate(settings: Settings): Gate {
  return { narrow: 'any', cost: costOf(settings) }
}
