// `npm run reproduce`: repeats the papers' tables in kind, on real data, and writes
// docs/reproduction/.
import { constants } from 'node:os'
import { join } from 'node:path'
import { checkFolder, unwritable } from '../scripts/output.ts'
import { EXPERIMENTS } from './experiments.ts'
import { checkFiles, type Options, parse } from './options.ts'
import { PAGE, RESULTS, writePage } from './page.ts'
import { createPool } from './pool.ts'
import { createProgress } from './progress.ts'
import { runAll } from './schedule.ts'
import { openStore } from './store.ts'

let interrupted: NodeJS.Signals | undefined
try {
  await reproduce(parse(Object.keys(EXPERIMENTS)))
} catch (error) {
  process.stderr.write(`reproduce: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = interrupted ? 128 + constants.signals[interrupted] : 1
}

async function reproduce(options: Options): Promise<void> {
  const experiments = await Promise.all(options.only.map((name) => EXPERIMENTS[name]!()))
  checkFiles(experiments, options.data)
  checkFolder('--out', options.out, [PAGE, RESULTS])
  const results = `${options.effort}.jsonl`
  checkFolder('--store', options.store, [results])
  const store = openStore(join(options.store, results), options.fresh)
  const pool = createPool()
  const progress = createProgress()
  try {
    const running = runAll(experiments, store, pool, progress, options)
    const entries = await Promise.race([running, interruption()])
    progress.stop()
    process.stdout.write(`${write(experiments, entries, options)}\n`)
  } finally {
    progress.stop()
    await pool.end()
  }
}

/** @throws Error  that says how to get the page all the same */
function write(...given: Parameters<typeof writePage>): string {
  try {
    return writePage(...given)
  } catch (error) {
    const { syscall, path } = error as NodeJS.ErrnoException
    if (syscall === undefined) throw error
    const { out, store } = given[2]
    const { message } = unwritable('--out', path ?? out, error)
    throw new Error(
      `${message}. ${store} has all results: the same command with another --out writes the page`,
    )
  }
}

/** Rejects when someone asks the command to end. */
function interruption(): Promise<never> {
  return new Promise((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => {
        interrupted = signal
        reject(new Error(`ended by ${signal}; the same command goes on from here`))
      })
    }
  })
}
