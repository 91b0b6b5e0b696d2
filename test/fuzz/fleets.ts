// What the fuzzer's fleets compute: every method with options that let a few numbers exercise it.
import { dad, type Factored, rankDad } from '../../src/factored.ts'
import type { Wire } from '../../src/frames.ts'
import type { Gradient, Options, ParameterSpec } from '../../src/index.ts'
import { METHODS } from '../support/methods.ts'
import { lengthOf } from '../support/numbers.ts'
import type { Dice } from './dice.ts'

/** Every method, and ways of feeding back that are not a method's own. */
const VARIANTS: Readonly<Record<string, Options>> = {
  ...METHODS,
  dad: { method: dad({ samples: 2 }) },
  rankDad: { method: rankDad(), rank: 1 },
  'factored, local': { ...METHODS.factored, errorFeedback: 'local' },
  aggregated: { rank: 2, errorFeedback: 'aggregated' },
  'half-steps, refreshed': { ...METHODS.halfSteps, iterations: 2, refresh: 2 },
  'two iterations': { rank: 1, iterations: 2, warmStart: 'fixed' },
  'as it is': { rank: 2, errorFeedback: 'none', startCompressingAfter: 1 },
}

const SHAPES: readonly (readonly ParameterSpec[])[] = [
  [[6, 9], [5], [4, 3, 5]],
  [[3, 70], []],
  [{ shape: [8, 4], rank: 'frozen' }, [7, 5], [90]],
  [{ shape: [3], compress: true }, { shape: [5, 5], rank: 1 }, [2, 2]],
]

/** What all workers of a fleet share. */
export interface FleetOptions {
  readonly name: string
  readonly shapes: readonly ParameterSpec[]
  readonly options: Options
  /** gradients of matrices come as factors */
  readonly factored: boolean
}

export function someFleet(dice: Dice): FleetOptions {
  const name = dice.pick(Object.keys(VARIANTS))
  const { method, ...rest } = VARIANTS[name]!
  const takesFactors = /^factored|^dad|^rankDad/.test(name)
  const gated = !method || method.supportedOptions.includes('minCompressionRate')
  // The factors of dAD and rank-dAD take more than the product at any lower rate.
  const rate = gated && !/ad$/i.test(name) ? { minCompressionRate: 0 } : {}
  const options = { ...rest, ...rate, ...(method && { method }) }
  // A method without ranks takes none in shapes.
  const ranked = !method || method.supportedOptions.includes('rank')
  const shapes = dice.pick(ranked ? SHAPES : SHAPES.slice(0, 3))
  return { name, shapes, options, factored: takesFactors && dice.hits(0.7) }
}

export function someWire(dice: Dice): Wire {
  return dice.pick(['f32', 'f32', 'f16', 'bf16', 'int8'])
}

export function shapeOf(spec: ParameterSpec): readonly number[] {
  return 'shape' in spec ? spec.shape : spec
}

/** A worker's gradient; a null among them now and then. */
export function gradientsFor({ shapes, factored }: FleetOptions, dice: Dice): (Gradient | null)[] {
  const scale = 10 ** (dice.below(7) - 3)
  const floats = (length: number) =>
    Float32Array.from({ length }, () => scale * (2 * dice.chance() - 1))
  return shapes.map((spec): Gradient | null => {
    const shape = shapeOf(spec)
    if (dice.hits(0.05)) return null
    if (!factored || shape.length !== 2) return floats(lengthOf(shape))
    const [rows, cols] = shape as [number, number]
    return { activations: floats(2 * cols), deltas: floats(2 * rows) } satisfies Factored
  })
}
