// Ranks that follow the spectrum: as many columns as it takes to send a given part of the energy ‖M‖²,
// which Rayleigh–Ritz tells of factors that are at hand anyway.

import type {
  Algorithm,
  Incoming,
  LoadedState,
  SharedState,
  StepContext,
  StepGenerator,
} from '../algorithm.ts'
import type { Layout } from '../backend.ts'
import { bytesOf } from '../bytes.ts'
import { wait } from '../gensync.ts'
import { gatedRanks } from '../layout.ts'
import { rayleighRitz } from '../linalg/rayleigh-ritz.ts'
import type { AlgorithmSetup, Method, Settings, Spec } from '../options.ts'
import { integer, show } from '../validate.ts'
import { costOf, FULL_STEP_OPTIONS, FullStep, fullRounds } from './powersgd.ts'
import { roundsWithScalars, scalarsOf, withScalars } from './scalars.ts'

export interface EnergyOptions {
  /** The part of ‖M‖² that a matrix's factors are to carry: more than 0, less than 1. Default 0.9. */
  readonly fraction?: number
  /** The lowest rank. Default 1. */
  readonly least?: number
  /** The highest; less where `minCompressionRate` would not let that travel. */
  readonly most: number
  /** Ranks are decided in every so many steps. */
  readonly every: number
}

/**
 * The rank that carries a part of the energy: the fewest leading eigenvalues that do, or twice as many as
 * there are, if all do not.
 *
 * @param eigenvalues  of Q̄ᵀQ̄, descending
 * @param wanted  energy that they are to sum to
 */
export function energyDecision(eigenvalues: ArrayLike<number>, wanted: number): number {
  let sum = 0
  for (let rank = 0; rank < eigenvalues.length; rank++) {
    if (sum >= wanted) return rank
    sum += eigenvalues[rank]!
  }
  return sum >= wanted ? eigenvalues.length : 2 * eigenvalues.length
}

/**
 * PowerSGD's full step with the rank of each matrix such that its factors carry a part of the energy:
 * the smallest that does, or, as long as the present one does not, its double. The shared option `rank`
 * is the first; parameters with a `rank` of their own keep it.
 *
 * Carried are the leading eigenvalues of Q̄ᵀQ̄. What they are compared with is (mean of all workers'
 * ‖M‖)², M being gradient and residual: what is pending counts, too. That is ‖M̄‖² where workers agree,
 * and more where they do not: if each has noise of energy ν of its own beside a signal of energy s, the
 * mean of W has s + ν/W, and no rank carries more of s + ν than that. What they disagree on for long
 * even grows in their residuals. So in fleets with noise ask for a smaller fraction, and set `most` to
 * what you can afford: ranks may well stay there.
 *
 * A deciding step costs 4 bytes for each matrix, and reading M once more; if it is aborted or nobody is
 * heard in it, ranks stay as they are. On wasm, higher ranks may take more memory: with `resident`, read
 * `gradients` again after such a step.
 */
export function byEnergy({ fraction = 0.9, least = 1, most, every }: EnergyOptions): Method {
  if (!(typeof fraction === 'number' && fraction > 0 && fraction < 1)) {
    throw new RangeError(`"fraction": expected a number between 0 and 1, got ${show(fraction)}`)
  }
  integer('least', least, 1, 65535)
  integer('most', most, least, 65535)
  integer('every', every, 1, 0xffffffff)
  const options = { fraction, least, most, every }
  return {
    name: 'byEnergy',
    options,
    supportedOptions: FULL_STEP_OPTIONS,
    ranks: (specs, settings, wanted) =>
      boundsOf(specs, settings, options).map((bounds, i) => {
        const asked = typeof wanted === 'number' ? wanted : wanted[i]!
        return asked === 0 ? 0 : clipped(asked, bounds)
      }),
    cycle: (layout, settings) => [
      roundsWithScalars(fullRounds(layout, settings), layout.matrices.length / every),
    ],
    create: (setup) => new ByEnergy(setup, options),
  }
}

/** What a parameter's rank may be; most 0: it is raw. */
interface Bounds {
  readonly least: number
  readonly most: number
}

function boundsOf(
  specs: readonly Spec[],
  settings: Settings,
  { least, most }: Pick<EnergyOptions, 'most'> & { readonly least: number },
): Bounds[] {
  const cost = costOf(settings)
  return gatedRanks(specs, settings, least, { cost }).map((lowest, i) => {
    const { rows, cols, rank, compress } = specs[i]!
    if (lowest === 0 || rank !== undefined) return { least: lowest, most: lowest }
    let highest = Math.min(most, rows, cols)
    const pays = () => cost(rows, cols, highest) * settings.minCompressionRate < rows * cols
    while (compress === undefined && highest > lowest && !pays()) highest--
    return { least: lowest, most: highest }
  })
}

function clipped(rank: number, { least, most }: Bounds): number {
  return Math.min(Math.max(rank, least), most)
}

class ByEnergy implements Algorithm {
  readonly #full: FullStep
  readonly #fraction: number
  readonly #every: number
  /** the step that the first deciding step is `every` − 1 steps behind */
  readonly #first: number
  /** of all parameters */
  readonly #bounds: readonly Bounds[]

  constructor(setup: AlgorithmSetup, options: Required<EnergyOptions>) {
    const { specs, settings } = setup
    this.#fraction = options.fraction
    this.#every = options.every
    this.#first = settings.startCompressingAfter
    this.#bounds = boundsOf(specs, settings, options)
    this.#full = new FullStep(setup)
  }

  get shared(): SharedState {
    return this.#full.shared
  }

  prepare(context: StepContext): void {
    this.#full.prepare(context)
  }

  *step(context: StepContext): StepGenerator {
    const { session, layout, step, present } = context
    const deciding = layout.matrices.length > 0 && (step - this.#first + 1) % this.#every === 0
    if (!deciding) return yield* this.#full.step(context)
    const squares = present ? yield* wait(session.norms()) : null
    const norms = layout.matrices.map(({ index }) => (squares ? Math.sqrt(squares[index]!) : 0))
    const { finish, mean } = yield* withScalars(this.#full.step(context), scalarsOf(norms))
    return mean.weight === 0 ? finish : { ...finish, ranks: this.#decided(layout, mean) }
  }

  /** Of the last mean: Q̄, and the mean of what all have told. */
  #decided(layout: Layout, { values, scalars }: Incoming): number[] {
    const right = new Float32Array(layout.rightFloats)
    bytesOf(right).set(values.subarray(0, right.byteLength))
    const ranks = layout.parameters.map(({ rank }) => rank)
    for (const [k, { index, right: at, cols, rank }] of layout.matrices.entries()) {
      const { values: carried } = rayleighRitz(right.subarray(at, at + rank * cols), cols)
      const enough = energyDecision(carried, this.#fraction * scalars[k]! ** 2)
      ranks[index] = clipped(enough, this.#bounds[index]!)
    }
    return ranks
  }

  load(layout: Layout, loaded: LoadedState, step: number): void {
    this.#full.load(layout, loaded, step)
  }

  rearrange(layout: Layout, step: number): void {
    this.#full.rearrange(layout, step)
  }
}
