// How much a run measures: everything; the figures that change most often; or just enough to see
// that it works.

export type Effort = 'full' | 'quick' | 'tiny'

/** The settings that every section gets. */
export interface Settings {
  readonly effort: Effort
  /** true: also measurements that need several GB of memory */
  readonly all: boolean
}

/** The ranks to measure. A quick run has those of the goals alone. */
export function ranksOf({ effort }: Settings): readonly number[] {
  return { full: [1, 2, 4, 8, 16, 32], quick: [1, 2, 4], tiny: [1, 4] }[effort]
}

/** One of three values, by effort. */
export function byEffort<T>({ effort }: Settings, full: T, quick: T, tiny: T): T {
  return { full, quick, tiny }[effort]
}
