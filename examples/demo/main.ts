// Trains one model twice from the same start, uncompressed and compressed, on worker processes
// that exchange frames over WebSocket; then says what it cost and what came of it.
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { Command, InvalidArgumentError, Option } from 'commander'
import { createFleet, type Fleet, type Run, type Settings } from './coordinator.ts'
import { plot } from './plot.ts'
import { createProgress } from './progress.ts'
import { WIRES } from './protocol.ts'
import { createReport, type Report, table } from './report.ts'
import { type Corpus, createCorpus, readText } from './text.ts'

interface Options extends Settings {
  readonly text: readonly string[]
  readonly svg: string
  readonly json: boolean
}

/** How a run ends that someone asked to end. */
class Interrupted extends Error {
  readonly exitCode: number

  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super(`ended by ${signal}`)
    this.exitCode = 128 + constants.signals[signal]
  }
}

const options = parse()
const controller = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => controller.abort(new Interrupted(signal)))
}

try {
  const corpus = createCorpus(readText(options.text), options.workers)
  const report = await trainTwice(corpus, options, controller.signal)
  writeFileSync(options.svg, plot(report))
  await print(options.json ? JSON.stringify(report, null, 2) : table(report))
  process.stderr.write(`loss against bytes sent: ${options.svg}\n`)
  if (!report.identical) throw new Error('the workers’ parameters differ')
} catch (error) {
  process.stderr.write(`demo: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = error instanceof Interrupted ? error.exitCode : 1
}

async function trainTwice(
  corpus: Corpus,
  { workers, steps, rank, wire, seed }: Settings,
  signal: AbortSignal,
): Promise<Report> {
  const settings = { workers, steps, rank, wire, seed }
  process.stderr.write(`starting ${workers} workers …\n`)
  const fleet = await createFleet(corpus, settings, signal)
  process.stderr.write(`workers are ready: processes ${fleet.processes.join(', ')}\n`)
  try {
    const uncompressed = await train(fleet, false, steps)
    const compressed = await train(fleet, true, steps)
    return createReport(settings, corpus, uncompressed, compressed)
  } finally {
    await fleet.close()
  }
}

async function train(fleet: Fleet, compressed: boolean, steps: number): Promise<Run> {
  const progress = createProgress(compressed ? '  compressed' : 'uncompressed', steps)
  try {
    return await fleet.train(compressed, progress)
  } finally {
    progress.stop()
  }
}

/** On stdout, and not lost when it is a pipe. */
async function print(text: string): Promise<void> {
  if (!process.stdout.write(`${text}\n`)) await once(process.stdout, 'drain')
}

function parse(): Options {
  const lib = createRequire(import.meta.url).resolve('typescript/lib/lib.dom.d.ts')
  const command = new Command('demo')
    .description(
      'Trains a character language model on several processes over WebSocket, with and without\n' +
        'low-rank gradient compression, and compares loss, bytes and time.',
    )
    .option('-w, --workers <n>', 'worker processes', integer(1, 64), 4)
    .option('-r, --rank <n>', 'columns of the factors', integer(1, 64), 12)
    .addOption(
      new Option('--wire <type>', 'of the values in compressed frames')
        .choices(WIRES)
        .default('f16'),
    )
    .option('-s, --steps <n>', 'training steps in each of the two runs', integer(1, 1_000_000), 500)
    .option('--seed <n>', 'of parameters, batches and factors', integer(0, 2 ** 32 - 1), 0)
    .option(
      '-t, --text <paths...>',
      'files, plain or .gz, or directories of .txt and .txt.gz (default: lib.dom.d.ts)',
    )
    .option('--svg <path>', 'where the picture goes', 'demo-loss.svg')
    .option('--json', 'print the results as JSON, and nothing else, on stdout', false)
    .allowExcessArguments(false)
    .parse()
  return { text: [lib], ...command.opts<Omit<Options, 'text'>>() }
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
