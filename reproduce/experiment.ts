// The seam of this folder: what an experiment is. experiments.ts lists them, main.ts runs them.

/** full: what the page in docs/ is made of; quick: minutes; tiny: seconds, to see that it works. */
export type Effort = 'full' | 'quick' | 'tiny'

/**
 * One part of the page, and the runs that it is made of.
 *
 * @typeParam Run  describes one: JSON. Equal descriptions have equal results, and are executed once: the
 *   description is what results are kept by, so whatever changes them is in it (steps, seeds, rates, …).
 * @typeParam Result  JSON as well: no NaN, no Infinity, no arrays but plain ones
 */
export interface Experiment<Run = unknown, Result = unknown> {
  /** for --only, the store and the page's anchors: one lower-case word */
  readonly name: string
  /** What its results are kept as, if not by its name: experiments that execute the same runs share them. */
  readonly kind?: string
  /** heading of its part of the page */
  readonly title: string
  /** what it reads, as paths under --data: looked for before anything is run */
  readonly files: readonly string[]
  /** true: its runs take times, so they are executed one at a time, with nothing beside them */
  readonly alone?: true
  /**
   * All runs that are known to be needed. Asked again when these are done, until it names no others: so a
   * run may depend on what earlier ones have found (a learning rate, say).
   *
   * @param done  in the order of this function's last answer; empty at first
   */
  runs(effort: Effort, done: readonly Done<Run, Result>[]): readonly Run[]
  /** What the progress bar calls it: a few words. */
  describe(run: Run): string
  /** In a worker thread. What it throws ends the command. */
  execute(run: Run, context: Context): Result | Promise<Result>
  /** Of all runs, in the order of `runs`. Pure: everything it says is computed from them. */
  report(done: readonly Done<Run, Result>[], effort: Effort): Part
}

/** A run and what came of it. */
export interface Done<Run = unknown, Result = unknown> {
  readonly run: Run
  readonly result: Result
}

/** What a run is given. */
export interface Context {
  /** the directory of --data */
  readonly data: string
  /** Aborted when the command is to end: runs that wait or have started processes end these then. */
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

/** What a paper says, beside what came out here. */
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
