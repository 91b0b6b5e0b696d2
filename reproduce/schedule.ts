// The order of runs: executes everything that is known and not done yet, until nothing is left.
import type { Done, Experiment } from './experiment.ts'
import type { Options } from './options.ts'
import type { Pool } from './pool.ts'
import type { Progress, TimeLeft } from './progress.ts'
import { commitOf } from './provenance.ts'
import { type Entry, keyOf, type Store } from './store.ts'

/** The state of an experiment. */
interface Standing {
  readonly experiment: Experiment
  /** results of the runs that are done, in the order of runs */
  readonly entries: readonly Entry[]
  readonly waiting: readonly unknown[]
}

/**
 * Executes the runs that the store does not have.
 *
 * @returns all results of each experiment, in the order of its runs
 * @throws Error  with the message of a run's error; results of earlier runs are in the store
 */
export async function runAll(
  experiments: readonly Experiment[],
  store: Store,
  pool: Pool,
  progress: Progress,
  { effort, data, jobs }: Options,
): Promise<readonly (readonly Entry[])[]> {
  const commit = commitOf()
  const standings = () => experiments.map((experiment) => standingOf(experiment, effort, store))
  // Experiments that measure time come last, when nothing else is left to run.
  for (const alone of [false, true]) {
    for (;;) {
      const some = standings().filter(({ experiment }) => (experiment.alone ?? false) === alone)
      const queue = [...waitingIn(some).values()]
      if (queue.length === 0) break
      tell()
      const lane = async () => {
        for (let next = queue.shift(); next; next = queue.shift()) await execute(next)
      }
      await Promise.all(Array.from({ length: alone ? 1 : jobs }, lane))
    }
  }
  return standings().map(({ entries }) => entries)

  async function execute({ experiment, run }: Task): Promise<void> {
    const { name } = experiment
    const what = `${name}: ${experiment.describe(run)}`
    progress.began(what)
    try {
      const { result, seconds } = await pool.execute({ experiment: name, run, data })
      const date = new Date().toISOString()
      store.add({ kind: kindOf(experiment), run, result, seconds, commit, date })
      progress.finished(what, seconds)
    } catch (error) {
      throw new Error(`${what}: ${(error as Error).message}`, { cause: error })
    }
    tell()
  }

  function tell(): void {
    const all = standings()
    const done = new Set(all.flatMap(({ entries }) => entries)).size
    progress.at(done, done + waitingIn(all).size, timeLeft(all, jobs))
  }
}

interface Task {
  readonly experiment: Experiment
  readonly run: unknown
}

/** The runs that are not done, each once: experiments may share runs. */
function waitingIn(standings: readonly Standing[]): Map<string, Task> {
  return new Map(
    standings.flatMap(({ experiment, waiting }) =>
      waiting.map((run) => [keyOf(kindOf(experiment), run), { experiment, run }] as const),
    ),
  )
}

function kindOf({ kind, name }: Experiment): string {
  return kind ?? name
}

function standingOf(experiment: Experiment, effort: Options['effort'], store: Store): Standing {
  let done: Done[] = []
  for (;;) {
    const runs = experiment.runs(effort, done)
    const found = runs.map((run) => store.find(kindOf(experiment), run))
    const entries = found.filter((entry) => entry !== undefined)
    const waiting = runs.filter((_, i) => found[i] === undefined)
    if (waiting.length > 0 || runs.length === done.length) return { experiment, entries, waiting }
    done = entries.map(({ run, result }) => ({ run, result }))
  }
}

/**
 * The time that the known runs take, estimated by the mean time of the experiment's finished runs.
 */
function timeLeft(all: readonly Standing[], jobs: number): TimeLeft {
  let seconds = 0
  let more = false
  for (const { experiment, entries, waiting } of all) {
    if (waiting.length === 0) continue
    const mean = entries.reduce((sum, entry) => sum + entry.seconds, 0) / entries.length
    if (entries.length === 0) more = true
    else seconds += (mean * waiting.length) / (experiment.alone ? 1 : jobs)
  }
  return { seconds, more }
}
