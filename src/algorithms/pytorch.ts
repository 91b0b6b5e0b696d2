// PyTorch's communication hook: torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook, as of 1.13.1.
import type { Method } from '../method.ts'
import { gated } from '../plan.ts'
import { costOf, FullStep, fullRounds, HEEDED } from './powersgd.ts'

/**
 * What PyTorch's powerSGD_hook computes, to the rounding of float32.
 *
 * Every parameter passes the gate, vectors as n × 1: below a `minCompressionRate` of 1 they may be compressed.
 * Feedback is aggregated, and that of raw parameters, too: each worker keeps what its own M is off the
 * mean. These residuals add up to zero over the fleet and change no update while everyone takes part
 * with the same weight, but they may grow, and whoever leaves takes along a part that is owed to nobody.
 *
 * Not as there: a zero or dependent column of P̂ is replaced, where the hook divides by zero, and is NaN
 * for ever, at ranks 1 and 2; there is no epsilon. `rank` and `startCompressingAfter` are 4 and 0, as
 * elsewhere here; the hook's are 1 and 1000. Its `use_error_feedback=False` is `errorFeedback: 'none'`. How parameters are cut
 * into buckets changes nothing but the packing. The batched hook, a bucket as one square matrix, is an
 * example: examples/buckets.
 */
export function pytorch(): Method {
  return {
    name: 'pytorch',
    heeds: HEEDED,
    defaults: { errorFeedback: 'aggregated' },
    ranks: (specs, settings, wanted) =>
      gated(specs, settings, wanted, { narrow: 'any', cost: costOf(settings) }),
    cycle: (plan, settings) => [fullRounds(plan, settings)],
    create: (making) => new FullStep(making, { rawDeviation: true }),
  }
}
