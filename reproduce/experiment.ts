// The interface of an experiment. experiments.ts lists the experiments; main.ts runs them.

/**
 * How much is run. full: all that the page in docs/ shows; quick: minutes; tiny: seconds, to see
 * that it works.
 */
export type Effort = 'full' | 'quick' | 'tiny'

/**
 * One part of the page, and the runs that it is made of.
 *
 * @typeParam Run  describes a run, as JSON. Equal descriptions have equal results and are executed
 *   once: results are stored under the description. So it contains all that changes them (steps,
 *   seeds, rates, …).
 * @typeParam Result  JSON as well: no NaN, no Infinity, no typed arrays
 */
export interface Experiment<Run = unknown, Result = unknown> {
  /** for --only, the store and the page's anchors: one lower-case word */
  readonly name: string
  /**
   * Results are stored under this, or under `name` if it is absent. Experiments that execute the
   * same runs share it.
   */
  readonly kind?: string
  /** heading of its part of the page */
  readonly title: string
  /**
   * files that it reads, as paths under --data; the command checks that they exist before it runs
   * anything
   */
  readonly files: readonly string[]
  /** true: its runs measure time, so they are executed one at a time, with nothing beside them */
  readonly alone?: true
  /**
   * All runs that are known to be needed. Called again when these are done, until it adds no
   * others. So a run may depend on the results of earlier ones (a learning rate, say).
   *
   * @param done  in the order of this function's last answer; empty at first
   */
  runs(effort: Effort, done: readonly Done<Run, Result>[]): readonly Run[]
  /** A few words about the run, for the progress bar. */
  describe(run: Run): string
  /** Executes a run in a worker thread. An error that it throws ends the command. */
  execute(run: Run, context: Context): Result | Promise<Result>
  /**
   * Writes the part of the page from the results of all runs, in the order of `runs`. Pure: it
   * computes everything from them.
   */
  report(done: readonly Done<Run, Result>[], effort: Effort): Part
}

/** A run and its result. */
export interface Done<Run = unknown, Result = unknown> {
  readonly run: Run
  readonly result: Result
}

/** The surroundings of a run. */
export interface Context {
  /** the directory of --data */
  readonly data: string
  /**
   * Aborted when the command is to end. Runs that wait stop then; those that have started processes
   * end these.
   */
  readonly signal: AbortSignal
}

/** An experiment's part of the page. */
export interface Part {
  /** below its heading `## title`; charts as `![what it shows](name.svg)` */
  readonly markdown: string
  /** SVG by file name; names begin with the experiment's, `quality-bytes.svg` */
  readonly charts: Readonly<Record<string, string>>
  readonly claims: readonly Claim[]
  /** for results.json: the figures of its tables, with names and units that a program can read */
  readonly figures: unknown
}

/** A paper's claim, and the verdict on it here. */
export interface Claim {
  /** in a sentence */
  readonly claim: string
  /** paper and table, figure or section */
  readonly source: string
  readonly verdict: Verdict
  /** the figures that the verdict was computed from */
  readonly numbers: string
}

export type Verdict = 'found' | 'not found' | 'not decidable'
