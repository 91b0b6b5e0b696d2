// What several seeds come to, and when two of them are said to differ.

/** Of one figure over seeds. */
export interface Spread {
  readonly mean: number
  readonly least: number
  readonly most: number
  readonly count: number
}

/** @param values  Infinity where a training diverged */
export function spreadOf(values: readonly number[]): Spread {
  return {
    mean: values.reduce((sum, value) => sum + value, 0) / values.length,
    least: Math.min(...values),
    most: Math.max(...values),
    count: values.length,
  }
}

/** Seeds below which nothing is said to differ. */
export const LEAST_SEEDS = 3

/**
 * −1: every seed of a is less than every seed of b; 1: every one is greater; 0: the ranges overlap, or there
 * are fewer than three seeds of either. If nothing but the seeds differed, three and three would come out
 * as −1 once in 20 times, and as 1 as often.
 */
export function compare(a: Spread, b: Spread): -1 | 0 | 1 {
  if (Math.min(a.count, b.count) < LEAST_SEEDS) return 0
  if (a.most < b.least) return -1
  return a.least > b.most ? 1 : 0
}

/** `1.234 ± 0.005`: mean and half the range. */
export function show({ mean, least, most, count }: Spread, digits: number): string {
  if (!Number.isFinite(mean)) return 'diverged'
  if (count === 1) return mean.toFixed(digits)
  return `${mean.toFixed(digits)} ± ${((most - least) / 2).toFixed(digits)}`
}
