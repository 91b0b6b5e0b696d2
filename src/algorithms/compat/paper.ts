// PowerSGD as in the code that its authors published with the paper: RankKReducer of
// epfml/powersgd, paper-code.

import { gatedRanks } from '../../layout.ts'
import { gramSchmidt } from '../../linalg/gram-schmidt.ts'
import { squaredNormOfProducts } from '../../linalg/products.ts'
import type { Gate, Method, Settings } from '../../options.ts'
import { takesNone } from '../../validate.ts'
import { costOf, FULL_STEP_OPTIONS, FullStep, fullRounds, type Variant } from '../powersgd.ts'

/**
 * The published code adds this to the norm of each column of Σ weight·P. Here P̄ = Σ weight·P ÷ Σ
 * weight, so the same quotients take EPSILON ÷ Σ weight.
 */
const EPSILON = 1e-8

const VARIANT: Variant = {
  qAsIs: true,
  basis: {
    make: (layout, left, weight) => gramSchmidt(layout, left, EPSILON / weight),
    squares: (layout, left, right) => squaredNormOfProducts(layout, [{ left, right }]),
  },
}

/**
 * PowerSGD as the code of the paper computes it, up to the rounding of float32. For comparison, not
 * for training.
 *
 * It compresses every matrix, single rows and columns too. Q̂ is the last step's Q̄ itself, not an
 * orthonormal basis of it. P̂ comes from one pass of Gram–Schmidt on Σ weight·P, which adds 1e-8 to
 * the norms of the columns.
 *
 * It reproduces the faults of that code. Singular values below about 1e-4 are damped and die out. A
 * matrix that is zero once is never sent again. Where columns depend on each other, P̂ is not
 * orthonormal. Q̂ has the size of the last Q̄. So what one worker sends once, if it is large, may
 * keep all others from every later step.
 *
 * Defaults: `minCompressionRate: 0`, `errorFeedback: 'aggregated'`, otherwise those of the shared
 * options.
 *
 * Source: RankKReducer of epfml/powersgd, paper-code; arXiv 1905.13727.
 */
export function paper(...none: []): Method {
  takesNone(none)
  return {
    name: 'paper',
    supportedOptions: FULL_STEP_OPTIONS.filter((name) => name !== 'orthonormalize'),
    defaults: { minCompressionRate: 0, errorFeedback: 'aggregated' },
    firstAxis: true,
    gate,
    ranks: (specs, settings, wanted) => gatedRanks(specs, settings, wanted, gate(settings)),
    cycle: (layout, settings) => [fullRounds(layout, settings)],
    create: (setup) => new FullStep(setup, VARIANT),
  }
}

function gate(settings: Settings): Gate {
  return { narrow: 'thin', cost: costOf(settings) }
}
