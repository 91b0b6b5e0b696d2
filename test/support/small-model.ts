// A small model and fleets that train it, for the tests of states and files.
import {
  type Compressor,
  createCompressor,
  type Options,
  type ParameterSpec,
} from '../../src/index.ts'
import { createFleet, stepTogether } from './fleet.ts'
import { gradientsOf } from './numbers.ts'

export const SHAPES = [[6, 8], [5], [3, 4, 2]]
export const OPTIONS: Options = { rank: 2, minCompressionRate: 0 }
export const make = (options: Options = {}, shapes: readonly ParameterSpec[] = SHAPES) =>
  createCompressor(shapes, { ...OPTIONS, ...options })
export const gradients = (seed: number) => gradientsOf(SHAPES, seed)
export const fleetOf = (count: number, options: Options = {}) =>
  createFleet(SHAPES, count, { ...OPTIONS, ...options })
export const train = async (fleet: readonly Compressor[], steps: number, seed = 1) => {
  for (let i = 0; i < steps; i++) {
    await stepTogether(
      fleet,
      fleet.map((_, w) => gradients(seed + 10 * i + w)),
      fleet.map((_, w) => w + 1),
    )
  }
}
