// How much a run measures: everything, what changes most often, or just enough to see that it works.

export type Effort = 'full' | 'quick' | 'tiny'

/** What every section is told. */
export interface Settings {
  readonly effort: Effort
  /** also what needs several GB of memory */
  readonly all: boolean
}

/** Ranks of the goals first: a quick run has these alone. */
export function ranksOf({ effort }: Settings): readonly number[] {
  return { full: [1, 2, 4, 8, 16, 32], quick: [1, 2, 4], tiny: [1, 4] }[effort]
}

/** One of three values, by effort. */
export function byEffort<T>({ effort }: Settings, full: T, quick: T, tiny: T): T {
  return { full, quick, tiny }[effort]
}
