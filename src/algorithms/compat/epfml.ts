// PowerSGD as in the package of its authors: PowerSGD and BasicPowerSGD of epfml/powersgd.

import type { Host, Layout, Side } from '../../backend.ts'
import type { Gate, Method, Settings, Spec } from '../../options.ts'
import { takesNone } from '../../validate.ts'
import { refuseAggregated } from '../feedback.ts'
import {
  HALF_STEP_OPTIONS,
  HalfStepAlgorithm,
  type HalfStepVariant,
  halfRounds,
} from '../half-steps.ts'

/**
 * The lower bound of the norm that single columns are divided by. The package bounds the norm of
 * the sum Σ P over the workers, this library that of the mean P̄.
 */
const MIN_NORM = 1e-16

const VARIANT: HalfStepVariant = { first: 'Q', basis: epfmlBasis }

/**
 * PowerSGD as the package of its authors computes it, up to the rounding of float32: half-steps, of
 * which the first sends Q. For comparison; `halfSteps()` does better.
 *
 * Its gate sees the shape as it is, with the kernel sizes of a convolution as separate dimensions,
 * and vectors may pass it. `BasicPowerSGD` is `minCompressionRate: 0, startCompressingAfter: 0`.
 *
 * It reproduces two faults of the package. Factors of one column are divided by the common norm of
 * all factors of equal matrix shapes, so that each matrix gets less than its projection. Such a
 * column, once it is zero, stays zero, and its matrix is never sent again.
 *
 * Defaults: `startCompressingAfter: 100`, otherwise those of the shared options. `errorFeedback:
 * 'aggregated'` is refused with a RangeError.
 *
 * Source: epfml/powersgd.
 */
export function epfml(...none: []): Method {
  takesNone(none)
  return {
    name: 'epfml',
    supportedOptions: HALF_STEP_OPTIONS.filter((name) => name !== 'refresh'),
    defaults: { startCompressingAfter: 100 },
    check: refuseAggregated,
    firstAxis: true,
    gate,
    ranks,
    cycle: (layout, settings) => halfRounds(layout, settings, VARIANT.first),
    create: (setup) => new HalfStepAlgorithm(setup, VARIANT),
  }
}

/** The package sends this many floats, and vectors as well where that pays. */
function gate({ iterations }: Settings): Gate {
  return {
    narrow: 'any',
    cost: (_rows, _cols, rank, shape) =>
      0.5 * iterations * Math.min(rank, ...shape) * shape.reduce((a, b) => a + b, 0),
  }
}

/**
 * The package's rule. A parameter's own `compress` takes precedence over it, and its own `rank`
 * over `wanted`.
 */
function ranks(
  specs: readonly Spec[],
  settings: Settings,
  wanted: number | readonly number[],
): number[] {
  const { cost } = gate(settings)
  return specs.map(({ shape, length, rows, cols, rank, compress }, i) => {
    const wantedRank = typeof wanted === 'number' ? (rank ?? wanted) : wanted[i]!
    const sent = cost(rows, cols, wantedRank, shape)
    const pays = shape.length > 0 && length / sent > settings.minCompressionRate
    return (compress ?? pays) ? Math.min(wantedRank, rows, cols) : 0
  })
}

/**
 * Orthonormalizes the factor of each matrix. Factors of one column are divided by the norm of all
 * such factors of equal matrix shapes instead.
 *
 * @param columns  an arena of this side; changed in place
 */
function epfmlBasis(
  host: Host,
  layout: Layout,
  side: Side,
  columns: Float32Array,
  step: number,
): void {
  const severalColumns = layout.matrices.filter(({ rank }) => rank > 1)
  host.orthonormalize({ ...layout, matrices: severalColumns }, side, columns, step, true)
  const columnsByShape = new Map<string, Float32Array[]>()
  for (const matrix of layout.matrices) {
    const { rows, cols, rank } = matrix
    if (rank > 1) continue
    const shape = `${rows} × ${cols}`
    const at = matrix[side]
    const column = columns.subarray(at, at + (side === 'left' ? rows : cols))
    columnsByShape.set(shape, [...(columnsByShape.get(shape) ?? []), column])
  }
  for (const columnsOfShape of columnsByShape.values()) {
    let squares = 0
    for (const column of columnsOfShape) for (const x of column) squares += x * x
    const norm = Math.max(Math.sqrt(squares), MIN_NORM)
    for (const column of columnsOfShape) for (const [i, x] of column.entries()) column[i] = x / norm
  }
}
