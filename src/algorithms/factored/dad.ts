// dAD: everyone's activations and deltas, and the gradient formed from all of them. Baker, Khanal, Calhoun,
// Pearlmutter, Plis, "Peering Beyond the Gradient Veil with Distributed Auto Differentiation" (arXiv
// 2102.09631); a weighted mean here, as everywhere in this library, where their code has the sum.

import type { StepContext } from '../../algorithm.ts'
import type { Gradient, Layout } from '../../backend.ts'
import { gatedRanks } from '../../layout.ts'
import type { Method } from '../../options.ts'
import { integer } from '../../validate.ts'
import { acceptsFactored } from './check.ts'
import { GatheredFactors } from './gathered.ts'
import { type ArrayGradient, asArrays, isWhole, samplesIn, type Workspace } from './products.ts'
import { type FactorShare, roundOf } from './shares.ts'

export interface DadOptions {
  /** The most samples N that a worker has of a matrix: for all, or one for each parameter. */
  readonly samples: number | readonly number[]
}

/** @param kernels  made anew for each compressor */
export function dadMethod(kernels: () => Promise<Workspace>, options: DadOptions): Method {
  const samples = checked(options.samples)
  /** The most columns, by parameter. */
  const most = (count: number): readonly number[] => {
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
    // A rank here says that N columns of both factors travel; the rank is clipped, as all are, and N is not.
    ranks: (specs, settings) =>
      gatedRanks(specs, settings, most(specs.length), {
        cost: (rows, cols, rank) => rank * (rows + cols),
      }),
    cycle: (layout) => [[roundOf(layout, most(layout.parameters.length))]],
    create: async () => new Dad(await kernels(), most),
  }
}

class Dad extends GatheredFactors {
  readonly #most: (count: number) => readonly number[]

  constructor(workspace: Workspace, most: (count: number) => readonly number[]) {
    super(workspace)
    this.#most = most
  }

  protected most({ parameters }: Layout): readonly number[] {
    return this.#most(parameters.length)
  }

  override take(context: StepContext, gradients: readonly Gradient[]): boolean {
    const most = this.most(context.layout)
    const given = asArrays(gradients)
    for (const { index, cols } of context.layout.matrices) {
      const gradient = given[index]!
      if (isWhole(gradient) || samplesIn(gradient, cols) <= most[index]!) continue
      throw new RangeError(
        `"gradients[${index}]": expected at most ${most[index]} samples, got ` +
          `${samplesIn(gradient, cols)}`,
      )
    }
    return super.take(context, gradients)
  }

  protected share(_turn: StepContext, matrices: readonly ArrayGradient[]): FactorShare[] {
    return matrices.map((gradient) =>
      isWhole(gradient)
        ? { whole: gradient }
        : { left: gradient.deltas, right: gradient.activations },
    )
  }
}

/** @throws TypeError, RangeError  unless all are integers that a word can tell */
function checked(samples: DadOptions['samples']): number | readonly number[] {
  const check = (name: string, one: number) => {
    integer(name, one, 1, 0xfffffffe)
    return one
  }
  if (!Array.isArray(samples)) return check('samples', samples as number)
  return samples.map((one, i) => check(`samples[${i}]`, one))
}
