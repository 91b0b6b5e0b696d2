// dAD: all workers exchange their activations and deltas, and each forms the gradient from all of
// them. Baker, Khanal, Calhoun, Pearlmutter, Plis, "Peering Beyond the Gradient Veil with
// Distributed Auto Differentiation" (arXiv 2102.09631). Their code takes the sum over the workers;
// this library takes the weighted mean, as everywhere.

import type { StepContext } from '../../algorithm.ts'
import type { Gradient, Layout } from '../../backend.ts'
import { gatedRanks } from '../../layout.ts'
import type { AlgorithmSetup, Method } from '../../options.ts'
import { integer, knownOptions } from '../../validate.ts'
import { acceptsFactored } from './check.ts'
import { GatheredFactors } from './gathered.ts'
import { type ArrayGradient, asArrays, isWhole, samplesIn, type Workspace } from './products.ts'
import { FACTORS_GATE, type FactorShare, roundOf } from './shares.ts'

/** Options of `dad`. */
export interface DadOptions {
  /**
   * The maximum number of samples N that a worker has of a matrix: one for all parameters, or an
   * array with one for each parameter. Integers ≥ 1.
   */
  readonly samples: number | readonly number[]
}

/**
 * The method `dad` of lowrank/factored.
 *
 * @param kernels  creates the workspace of one compressor
 * @throws TypeError, RangeError  naming the option
 */
export function dadMethod(kernels: () => Promise<Workspace>, options: DadOptions): Method {
  const samples = checked(knownOptions(options, ['samples']).samples)
  /** The maximum number of columns of each parameter. */
  const maxColumns = (count: number): readonly number[] => {
    if (typeof samples === 'number') return Array<number>(count).fill(samples)
    if (samples.length === count) return samples
    throw new RangeError(`"samples": expected a number or ${count} of them, got ${samples.length}`)
  }
  return {
    name: 'dad',
    options: { samples },
    accepts: acceptsFactored,
    ownsFactors: true,
    supportedOptions: ['minCompressionRate'],
    defaults: { minCompressionRate: 1, errorFeedback: 'none' },
    check({ minCompressionRate }) {
      if (minCompressionRate >= 1) return
      throw new RangeError(`"minCompressionRate": dad expects ≥ 1, got ${minCompressionRate}`)
    },
    gate: () => ({ ...FACTORS_GATE, wanted: samples }),
    // A rank above 0 only says that a matrix's factors are sent, with up to N columns each.
    // `gatedRanks` clips the rank to the matrix, but not N.
    ranks: (specs, settings) => gatedRanks(specs, settings, maxColumns(specs.length), FACTORS_GATE),
    cycle: (layout) => [[roundOf(layout, maxColumns(layout.parameters.length))]],
    create: async (setup) => new Dad(setup, await kernels(), maxColumns),
  }
}

class Dad extends GatheredFactors {
  readonly #maxColumns: (count: number) => readonly number[]

  constructor(
    setup: AlgorithmSetup,
    workspace: Workspace,
    maxColumns: (count: number) => readonly number[],
  ) {
    super(setup, workspace)
    this.#maxColumns = maxColumns
  }

  protected maxColumns({ parameters }: Layout): readonly number[] {
    return this.#maxColumns(parameters.length)
  }

  override take(context: StepContext, gradients: readonly (Gradient | null)[]): boolean {
    const maxColumns = this.maxColumns(context.layout)
    const arrays = asArrays(gradients, context.layout)
    for (const { index, cols } of context.layout.matrices) {
      const gradient = arrays[index]!
      if (isWhole(gradient) || samplesIn(gradient, cols) <= maxColumns[index]!) continue
      throw new RangeError(
        `"gradients[${index}]": expected at most ${maxColumns[index]} samples, got ` +
          `${samplesIn(gradient, cols)}`,
      )
    }
    return super.take(context, gradients)
  }

  protected share(_context: StepContext, matrices: readonly ArrayGradient[]): FactorShare[] {
    return matrices.map((gradient) =>
      isWhole(gradient)
        ? { whole: gradient }
        : { left: gradient.deltas, right: gradient.activations },
    )
  }
}

/**
 * @throws TypeError, RangeError  unless all numbers are integers from 1 to 2³² − 2: 2³² − 1 means
 *   WHOLE
 */
function checked(samples: DadOptions['samples']): number | readonly number[] {
  const check = (name: string, one: number) => {
    integer(name, one, 1, 0xfffffffe)
    return one
  }
  if (!Array.isArray(samples)) return check('samples', samples as number)
  return Array.from(samples, (one, i) => check(`samples[${i}]`, one))
}
