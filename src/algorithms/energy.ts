// Ranks that adapt to the spectrum: each matrix gets as many columns as it takes to send a given
// fraction of its energy ‖M‖². A Rayleigh–Ritz step on Q̄ tells how much of it each rank carries.

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
import { gatedRanks, ranksIn } from '../layout.ts'
import { rayleighRitz } from '../linalg/rayleigh-ritz.ts'
import {
  type AlgorithmSetup,
  type Method,
  MOST_RANK,
  type Settings,
  type Spec,
} from '../options.ts'
import { integer, knownOptions, number, wrongType } from '../validate.ts'
import { costOf, FULL_STEP_OPTIONS, FullStep, fullRounds, gateOf } from './powersgd.ts'
import { roundsWithScalars, scalarsOf, withScalars } from './scalars.ts'

/** Options of `byEnergy`. */
export interface EnergyOptions {
  /** The fraction of ‖M‖² that a matrix's factors are to carry: above 0, below 1. Default 0.9. */
  readonly fraction?: number
  /** The lowest rank: an integer ≥ 1. Default 1. */
  readonly least?: number
  /**
   * The highest rank: an integer from `least` to 65534. A matrix's own bound is lower where
   * `minCompressionRate` would send it raw at this rank.
   */
  readonly most: number
  /** Ranks are decided once in this number of steps. */
  readonly every: number
}

/**
 * Decides on a rank: the smallest one whose leading eigenvalues sum to the wanted energy. If all of
 * them do not, it is twice their number.
 *
 * @param eigenvalues  of Q̄ᵀQ̄, descending: the energy that each direction carries
 * @param wanted  energy that they are to sum to, in the same unit as the eigenvalues
 * @throws TypeError  naming the argument
 */
export function energyDecision(eigenvalues: ArrayLike<number>, wanted: number): number {
  if (typeof eigenvalues?.length !== 'number') {
    throw wrongType('eigenvalues', 'an array of numbers', eigenvalues)
  }
  number('wanted', wanted, 'a number', () => true)
  let sum = 0
  for (let rank = 0; rank < eigenvalues.length; rank++) {
    number(`eigenvalues[${rank}]`, eigenvalues[rank], 'a number', () => true)
    if (sum >= wanted) return rank
    sum += eigenvalues[rank]!
  }
  return sum >= wanted ? eigenvalues.length : 2 * eigenvalues.length
}

/**
 * PowerSGD in full steps, with ranks that adapt so that each matrix's factors carry a given
 * fraction of its energy. The rank becomes the smallest one that does, or, while the present one
 * does not, its double, always within `least` and `most`. The shared option `rank` is the first
 * rank. Parameters with a `rank` of their own keep it.
 *
 * The energy carried at rank k is the sum of the k leading eigenvalues of Q̄ᵀQ̄. It is compared
 * with fraction × (mean of ‖M‖ over the workers)², where M is the gradient plus the residual. Where
 * all workers have the same M this is ‖M̄‖². Where they differ it is larger. Say each worker has a
 * signal of energy s and noise of energy ν of its own: the mean of W workers has only s + ν/W, and
 * no rank carries more of s + ν than that. A lasting disagreement even grows in the residuals. So
 * with noisy gradients, ask for a smaller fraction, and set `most` to a rank that you can afford,
 * because ranks may well stay there.
 *
 * A deciding step costs 4 bytes for each matrix, and reads M once more. If it is aborted, or no
 * frame counts in it, ranks stay as they are. On wasm, higher ranks may take more memory: with
 * `resident`, read `gradients` again after such a step.
 *
 * @throws TypeError, RangeError  naming the option
 */
export function byEnergy(given: EnergyOptions): Method {
  const known = ['fraction', 'least', 'most', 'every']
  const { fraction = 0.9, least = 1, most, every } = knownOptions(given, known)
  number('fraction', fraction, 'a number between 0 and 1', (x) => x > 0 && x < 1)
  integer('least', least, 1, MOST_RANK)
  integer('most', most, least, MOST_RANK)
  integer('every', every, 1, 0xffffffff)
  const options = { fraction, least, most, every }
  return {
    name: 'byEnergy',
    options,
    supportedOptions: FULL_STEP_OPTIONS,
    gate: (settings) => ({ ...gateOf(settings), wanted: least }),
    ranks: (specs, settings, wanted) =>
      boundsOf(specs, settings, options).map((bounds, i) => {
        const wantedRank = typeof wanted === 'number' ? wanted : wanted[i]!
        return wantedRank === 0 ? 0 : clip(wantedRank, bounds)
      }),
    cycle: (layout, settings) => [
      roundsWithScalars(fullRounds(layout, settings), layout.matrices.length / every),
    ],
    create: (setup) => new ByEnergy(setup, options),
  }
}

/** The range of a parameter's rank. most 0: it is raw. */
interface Bounds {
  readonly least: number
  readonly most: number
}

/**
 * The range of each parameter's rank. It is raw if it would be at the lowest rank, and has one
 * value if it has a `rank` of its own.
 */
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

function clip(rank: number, { least, most }: Bounds): number {
  return Math.min(Math.max(rank, least), most)
}

class ByEnergy implements Algorithm {
  readonly #full: FullStep
  readonly #fraction: number
  readonly #every: number
  /**
   * the first compressed step; the deciding steps are the last of each `every` steps from there on
   */
  readonly #firstStep: number
  /** for each parameter */
  readonly #bounds: readonly Bounds[]

  constructor(setup: AlgorithmSetup, options: Required<EnergyOptions>) {
    const { specs, settings } = setup
    this.#fraction = options.fraction
    this.#every = options.every
    this.#firstStep = settings.startCompressingAfter
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
    const deciding = layout.matrices.length > 0 && (step - this.#firstStep + 1) % this.#every === 0
    if (!deciding) return yield* this.#full.step(context)
    const squares = present ? yield* wait(session.norms()) : null
    const norms = layout.matrices.map(({ index }) => (squares ? Math.sqrt(squares[index]!) : 0))
    const { finish, mean } = yield* withScalars(this.#full.step(context), scalarsOf(norms))
    return mean.weight === 0 ? finish : { ...finish, ranks: this.#decideRanks(layout, mean) }
  }

  /**
   * The ranks of all parameters for the next step.
   *
   * @param values  the last mean: Q̄, then the raw parameters, as bytes
   * @param scalars  the mean of ‖M‖ over the workers, for each matrix
   */
  #decideRanks(layout: Layout, { values, scalars }: Incoming): number[] {
    const right = new Float32Array(layout.rightFloats)
    bytesOf(right).set(values.subarray(0, right.byteLength))
    const ranks = ranksIn(layout)
    for (const [k, { index, right: at, cols, rank }] of layout.matrices.entries()) {
      const { values: eigenvalues } = rayleighRitz(right.subarray(at, at + rank * cols), cols)
      const enough = energyDecision(eigenvalues, this.#fraction * scalars[k]! ** 2)
      ranks[index] = clip(enough, this.#bounds[index]!)
    }
    return ranks
  }

  load(layout: Layout, loaded: LoadedState, step: number): () => void {
    return this.#full.load(layout, loaded, step)
  }

  rearrange(layout: Layout, step: number): () => void {
    return this.#full.rearrange(layout, step)
  }
}
