// The papers' claims about time, with verdicts from this machine's times.

import type { Claim, Verdict } from '../experiment.ts'
import type { Measured, MeasuredCost, ModelName, WayName } from './costs.ts'
import { type Line, savedMs } from './steptime.ts'

/** The papers' cluster: 10 Gbit/s. Its delays are fractions of a millisecond, taken as 0. */
const CLUSTER: Line = { mbits: 10_000, delayMs: 0 }

const HERE = 'in a star of four at 10 Gbit/s, compressed on one thread of this machine'

interface Comparison {
  readonly model: ModelName
  readonly way: WayName
  readonly than: WayName
}

export function claimsOf(costs: readonly Measured[]): Claim[] {
  const ranks = (['ResNet-18', 'LSTM'] as const).flatMap((model) =>
    (['rank 1', 'rank 2', 'rank 4'] as const).map(
      (way): Comparison => ({
        ...{ model, way, than: 'uncompressed' },
      }),
    ),
  )
  const gathered = (['sign + norm', 'top k, 1/32', 'top k, 1/136'] as const).map(
    (way): Comparison => ({ model: 'ResNet-18', way: 'uncompressed', than: way }),
  )
  const equals = (['random k, rank 2', 'top k, 1/136'] as const).map(
    (than): Comparison => ({
      ...{ model: 'ResNet-18', way: 'rank 2', than },
    }),
  )
  return [
    judge(
      'A step with rank 1, 2 or 4 takes less time than an uncompressed one (16 GPUs: 16 to 26 % less with ResNet-18, 53 to 56 % with the LSTM)',
      'PowerSGD, Table 3 (times quoted from memory)',
      ranks,
      costs,
    ),
    judge(
      'A step with Sign + Norm or Top K takes longer than an uncompressed one (16 GPUs: a third longer)',
      'PowerSGD, Table 4 (times quoted from memory)',
      gathered,
      costs,
    ),
    judge(
      'A step with rank 2 takes less time than one with Random K or Top K of as many bytes',
      'PowerSGD, Table 4 (times quoted from memory)',
      equals,
      costs,
    ),
  ]
}

/**
 * found: in each comparison the first step is shorter by more than the spreads of both times. not
 * found: in one it is longer by more than that.
 */
function judge(
  claim: string,
  source: string,
  comparisons: readonly Comparison[],
  costs: readonly Measured[],
): Claim {
  const found = comparisons.flatMap(({ model, way, than }) => {
    const [a, b] = [costFor(costs, model, way), costFor(costs, model, than)]
    if (!a || !b) return []
    const shorter = savedMs(a, b, CLUSTER)
    return [{ model, way, than, shorter, spread: a.spreadMs + b.spreadMs }]
  })
  const verdict: Verdict =
    found.length < comparisons.length
      ? 'not decidable'
      : found.every(({ shorter, spread }) => shorter > spread)
        ? 'found'
        : found.some(({ shorter, spread }) => -shorter > spread)
          ? 'not found'
          : 'not decidable'
  const numbers = found.map(
    ({ model, way, than, shorter, spread }) =>
      `${model}, ${way}: ${Math.abs(shorter).toFixed(0)} ± ${spread.toFixed(0)} ms ${shorter < 0 ? 'longer' : 'shorter'} than ${than}`,
  )
  return { claim, source, verdict, numbers: [HERE, ...numbers].join('; ') }
}

function costFor(
  costs: readonly Measured[],
  model: ModelName,
  way: WayName,
): MeasuredCost | undefined {
  return costs.find((one) => one.model === model && one.way === way)?.cost
}
