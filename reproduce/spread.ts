// The spread of a figure over seeds, and the rule by which two spreads differ.

/** The spread of one figure over seeds. */
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

/** With fewer seeds, nothing is said to differ. */
export const LEAST_SEEDS = 3

/**
 * Compares two figures.
 *
 * −1: every seed of a is less than every seed of b. 1: every one is greater. 0: the ranges overlap,
 * or one has fewer than three seeds. If only the seeds differed, three against three would give −1
 * once in 20 times, and 1 as often.
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
