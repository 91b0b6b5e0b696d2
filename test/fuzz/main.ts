// `npm run fuzz`: longer hunts than those of the tests, with other seeds.
import { constants } from 'node:os'
import cliProgress from 'cli-progress'
import { Command, InvalidArgumentError, Option } from 'commander'
import { print } from '../../scripts/output.ts'
import { huntInputs, InputError, PER_TARGET } from './hunt.ts'
import { huntSchedules, ScheduleError } from './schedules.ts'

interface Options {
  readonly inputs: number
  readonly schedules: number
  readonly seed: number
  readonly onlyInput?: number
  readonly onlySchedule?: number
}

const options = parse()
let interrupted: NodeJS.Signals | undefined
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    interrupted = signal
  })
}

const { seed, onlyInput, onlySchedule } = options
const alone = onlyInput !== undefined || onlySchedule !== undefined
const inputs = alone ? 0 : options.inputs
const schedules = alone ? 0 : options.schedules
const bar = createBar(inputs + schedules)
const counts = { inputs: 0, accepted: 0, schedules: 0 }
/** Lets signals in between two inputs. */
const pause = () => new Promise((resolve) => setImmediate(resolve))
try {
  if (onlyInput !== undefined) await huntInputs({ inputs: 0, seed, only: onlyInput })
  if (onlySchedule !== undefined) await huntSchedules(seed, onlySchedule, onlySchedule + 1)
  for (let from = 0; from < inputs && !interrupted; from += PER_TARGET) {
    const to = Math.min(inputs, from + PER_TARGET)
    const found = await huntInputs({ inputs: to, from, seed })
    counts.inputs += found.inputs
    counts.accepted += found.accepted
    bar.at(counts.inputs, 'inputs')
    await pause()
  }
  while (counts.schedules < schedules && !interrupted) {
    await huntSchedules(seed, counts.schedules, counts.schedules + 1)
    bar.at(inputs + ++counts.schedules, 'schedules')
    await pause()
  }
  bar.stop()
  await print(alone ? 'passed' : summary())
} catch (error) {
  bar.stop()
  process.exitCode = 1
  if (!(error instanceof InputError || error instanceof ScheduleError)) throw error
  const option = error instanceof InputError ? '--only-input' : '--only-schedule'
  process.stderr.write(`${error.message}\n${stackOf(error.cause)}\n`)
  if (!alone) await print(summary())
  process.stderr.write(`again: npm run fuzz -- --seed ${seed} ${option} ${error.index}\n`)
}
if (interrupted && !process.exitCode) process.exitCode = 128 + constants.signals[interrupted]

function summary(): string {
  const { inputs, accepted, schedules } = counts
  const end = interrupted ? `, interrupted by ${interrupted}` : ''
  return `${inputs} inputs (${accepted} accepted), ${schedules} schedules, seed ${seed}${end}`
}

function stackOf(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
}

/** A bar on a terminal; nothing elsewhere. */
function createBar(total: number) {
  if (!process.stderr.isTTY || total === 0) return { at() {}, stop() {} }
  const bar = new cliProgress.SingleBar({
    format: '{bar} {value} of {total}, {duration_formatted}  {what}',
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 16,
    hideCursor: true,
    clearOnComplete: true,
    gracefulExit: false,
  })
  bar.start(total, 0, { what: '' })
  return {
    at: (value: number, what: string) => bar.update(value, { what }),
    stop: () => bar.stop(),
  }
}

function parse(): Options {
  const command = new Command('fuzz')
    .description(
      'Gives mutated frames, checkpoints and payloads to every door of the library, then runs random schedules of faults against ledgers in float64. Ends with the first failure, and says how to repeat it. A signal ends it after the current input, with the counts so far.',
    )
    .option('--inputs <n>', 'how many mutated inputs', whole, 100_000)
    .option('--schedules <n>', 'how many schedules', whole, 1000)
    .option('--seed <n>', 'of both', whole, 1)
    .addOption(
      new Option('--only-input <index>', 'that input alone, after those of its target before it')
        .argParser(whole)
        .conflicts('onlySchedule'),
    )
    .addOption(new Option('--only-schedule <index>', 'that schedule alone').argParser(whole))
    .parse()
  return command.opts<Options>()
}

function whole(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value <= 2 ** 31) return value
  throw new InvalidArgumentError('expected a whole number up to 2³¹')
}
