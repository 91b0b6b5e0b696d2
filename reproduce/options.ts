// The options of the command line.
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Command, InvalidArgumentError, Option } from 'commander'
import type { Effort, Experiment } from './experiment.ts'

export interface Options {
  readonly effort: Effort
  readonly data: string
  /** names of experiments, in the order of the page */
  readonly only: readonly string[]
  /** runs at a time */
  readonly jobs: number
  readonly out: string
  /** folder in which results of runs are kept */
  readonly store: string
  readonly fresh: boolean
}

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/**
 * Parses the options of this process. At a bad one, commander ends the process.
 *
 * @param known  names of all experiments
 */
export function parse(known: readonly string[]): Options {
  const command = new Command('reproduce')
    .description(
      'Trains small models with and without compression, as the papers’ tables have it, and writes a page with\n' +
        'charts and verdicts. What has been computed is kept in build/: a command that was interrupted\n' +
        'goes on where it was when it is given again.',
    )
    .option('--quick', 'fewer runs and fewer steps: minutes')
    .addOption(new Option('--tiny', 'hardly any: to see that it works').conflicts('quick'))
    .option('--data <dir>', 'the data sets', join(ROOT, '../shared/data'))
    .addOption(new Option('--only <names...>', 'some experiments').choices(known))
    .option('--jobs <n>', 'runs at a time', integer(1, 64), 2)
    .option(
      '--out <dir>',
      'where page, charts and results.json go (default: docs/reproduction for the full run of\n' +
        'everything, else a folder in --store)',
    )
    .option('--store <dir>', 'where results of runs are kept', join(ROOT, 'build/reproduction'))
    .option('--fresh', 'forget what has been computed', false)
    .allowExcessArguments(false)
    .parse()
  const { quick, tiny, data, only = known, jobs, out, store, fresh } = command.opts()
  const effort: Effort = tiny ? 'tiny' : quick ? 'quick' : 'full'
  const whole = effort === 'full' && known.every((name) => only.includes(name))
  const usual = whole ? join(ROOT, 'docs/reproduction') : join(store, effort)
  return {
    effort,
    data: resolve(data),
    only: known.filter((name) => only.includes(name)),
    jobs,
    out: resolve(out ?? usual),
    store: resolve(store),
    fresh,
  }
}

/** @throws RangeError  that names the missing files */
export function checkFiles(experiments: readonly Experiment[], data: string): void {
  for (const { name, files } of experiments) {
    const missing = files.filter((file) => !existsSync(join(data, file)))
    if (missing.length === 0) continue
    throw new RangeError(
      `"--data": expected ${missing.join(', ')} there, for ${name}, got ${data}, which has not`,
    )
  }
}

function integer(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^\d+$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`Expected an integer from ${least} to ${most}.`)
    }
    return value
  }
}
