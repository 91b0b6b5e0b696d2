// PyTorch's communication hook: torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook, as of 1.13.1.

import { gatedRanks } from '../../layout.ts'
import type { Method } from '../../options.ts'
import { costOf, FULL_STEP_OPTIONS, FullStep, fullRounds } from '../powersgd.ts'

/**
 * What PyTorch's powerSGD_hook computes, to the rounding of float32.
 *
 * Every parameter passes the gate, vectors as n × 1: with a `minCompressionRate` below 1 they may be
 * compressed. Feedback is aggregated, that of raw parameters too: each worker keeps by how much its own
 * M is off the mean. Over the fleet this adds up to nothing and changes no update, while everyone takes
 * part with weights that never change; but it may grow, and whoever leaves takes some of it along.
 *
 * Not as there: a zero or dependent column of P̂ is replaced, where the hook at ranks 1 and 2 divides by
 * zero and is NaN for ever, and there is no epsilon. `rank` and `startCompressingAfter` are 4 and 0 by
 * default, as elsewhere here; the hook's are 1 and 1000. Its `use_error_feedback=False` is
 * `errorFeedback: 'none'`. How it cuts parameters into buckets is a matter of packing alone. Its batched
 * form, a bucket as one square matrix, is in examples/buckets.
 */
export function pytorch(): Method {
  return {
    name: 'pytorch',
    supportedOptions: FULL_STEP_OPTIONS,
    defaults: { errorFeedback: 'aggregated' },
    ranks: (specs, settings, wanted) =>
      gatedRanks(specs, settings, wanted, { narrow: 'any', cost: costOf(settings) }),
    cycle: (layout, settings) => [fullRounds(layout, settings)],
    create: (setup) => new FullStep(setup, { rawDeviation: true }),
  }
}
