// The package of PowerSGD's authors: PowerSGD and BasicPowerSGD of epfml/powersgd.

import type { Host, Layout, Side } from '../../backend.ts'
import type { Method, Settings, Spec } from '../../options.ts'
import { refuseAggregated } from '../feedback.ts'
import {
  HALF_STEP_OPTIONS,
  HalfStepAlgorithm,
  type HalfStepVariant,
  halfRounds,
} from '../half-steps.ts'

/** Norms below it count as it. (The package's, which knows Σ P where this has P̄, is that of the sum.) */
const SMALLEST_NORM = 1e-16

const VARIANT: HalfStepVariant = { first: 'Q', basis: epfmlBasis }

/**
 * What the package of PowerSGD's authors computes, to the rounding of float32: half-steps, Q sent first.
 *
 * The gate takes the shape as it is, the sides of kernels of a convolution among them, and vectors may
 * pass it; `BasicPowerSGD` is `minCompressionRate: 0, startCompressingAfter: 0`. Its faults come along:
 * factors of one column are divided by the norm of all those of equal shapes together, so that each
 * matrix gets less than its projection, and such a column that is zero once is never sent again. For
 * comparison; `halfSteps()` does better.
 */
export function epfml(): Method {
  return {
    name: 'epfml',
    supportedOptions: HALF_STEP_OPTIONS.filter((name) => name !== 'refresh'),
    defaults: { startCompressingAfter: 100 },
    check: refuseAggregated,
    ranks,
    cycle: (layout, settings) => halfRounds(layout, settings, VARIANT.first),
    create: (setup) => new HalfStepAlgorithm(setup, VARIANT),
  }
}

/** The package's gate; what each parameter wishes for itself goes before it. */
function ranks(
  specs: readonly Spec[],
  { iterations, minCompressionRate }: Settings,
  wanted: number | readonly number[],
): number[] {
  return specs.map(({ shape, length, rows, cols, rank, compress }, i) => {
    const asked = typeof wanted === 'number' ? (rank ?? wanted) : wanted[i]!
    const sent = 0.5 * iterations * Math.min(asked, ...shape) * shape.reduce((a, b) => a + b, 0)
    const pays = shape.length > 0 && length / sent > minCompressionRate
    return (compress ?? pays) ? Math.min(asked, rows, cols) : 0
  })
}

/** Bases by QR of each matrix; of one column: by one norm for all that are equal in shape. */
function epfmlBasis(
  host: Host,
  layout: Layout,
  side: Side,
  columns: Float32Array,
  step: number,
): void {
  const wide = layout.matrices.filter(({ rank }) => rank > 1)
  host.orthonormalize({ ...layout, matrices: wide }, side, columns, step, true)
  const groups = new Map<string, Float32Array[]>()
  for (const matrix of layout.matrices) {
    const { rows, cols, rank } = matrix
    if (rank > 1) continue
    const shape = `${rows} × ${cols}`
    const at = matrix[side]
    const column = columns.subarray(at, at + (side === 'left' ? rows : cols))
    groups.set(shape, [...(groups.get(shape) ?? []), column])
  }
  for (const group of groups.values()) {
    let squares = 0
    for (const column of group) for (const x of column) squares += x * x
    const norm = Math.max(Math.sqrt(squares), SMALLEST_NORM)
    for (const column of group) for (const [i, x] of column.entries()) column[i] = x / norm
  }
}
