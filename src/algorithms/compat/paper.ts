// The code that PowerSGD's authors published with the paper: RankKReducer of epfml/powersgd.

import { gatedRanks } from '../../layout.ts'
import { gramSchmidt } from '../../linalg/gram-schmidt.ts'
import { squaredNormOfProducts } from '../../linalg/products.ts'
import type { Method } from '../../options.ts'
import { costOf, FULL_STEP_OPTIONS, FullStep, fullRounds, type Variant } from '../powersgd.ts'

/** What it adds to the norm of a column of Σ weight·P. */
const EPSILON = 1e-8

const VARIANT: Variant = {
  asIs: true,
  basis: {
    make: (layout, left, weight) => gramSchmidt(layout, left, EPSILON / weight),
    squares: (layout, left, right) => squaredNormOfProducts(layout, [{ left, right }]),
  },
}

/**
 * What the code of PowerSGD's authors computes, to the rounding of float32.
 *
 * Every matrix is compressed, single rows and columns too; Q̂ is the last step's Q̄ as it is; P̂ comes of
 * Gram–Schmidt in one pass, with 1e-8 added to the norms of P̄ × the sum of weights; feedback is
 * aggregated. Its faults come along: singular values below about 1e-4 are damped and die out, a
 * matrix that is zero once is never sent again, and where columns depend on each other P̂ is not
 * orthonormal. For comparison, not for training.
 */
export function paper(): Method {
  return {
    name: 'paper',
    supportedOptions: FULL_STEP_OPTIONS.filter((name) => name !== 'orthonormalize'),
    defaults: { minCompressionRate: 0, errorFeedback: 'aggregated' },
    ranks: (specs, settings, wanted) =>
      gatedRanks(specs, settings, wanted, { narrow: 'thin', cost: costOf(settings) }),
    cycle: (layout, settings) => [fullRounds(layout, settings)],
    create: (setup) => new FullStep(setup, VARIANT),
  }
}
