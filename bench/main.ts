// `npm run bench`: measures the built package section by section, each in a process of its own on
// one core.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants, cpus } from 'node:os'
import { fileURLToPath } from 'node:url'
import { Argument, Command } from 'commander'
import { checkOutput, print, writeOutput } from '../scripts/output.ts'
import { type Change, compareReports, readReport } from './compare.ts'
import type { Effort, Settings } from './effort.ts'
import { goals } from './goals.ts'
import { createProgress, type Progress } from './progress.ts'
import { write } from './report.ts'
import { circumstances, type Report, type Table } from './results.ts'
import { type Message, SECTIONS } from './sections.ts'
import { hasRelaxedSimd } from './simd.ts'
import { onCores, Unavailable } from './tools.ts'

interface Options {
  readonly quick?: true
  readonly tiny?: true
  readonly all?: true
  readonly markdown?: true
  readonly json?: string
  readonly compare?: string
}

const CHILD = fileURLToPath(new URL('./child.ts', import.meta.url))

const { names, options } = parse()
const effort: Effort = options.tiny ? 'tiny' : options.quick ? 'quick' : 'full'
const settings: Settings = { effort, all: options.all ?? false }

let running: ChildProcess | undefined
let interrupted: NodeJS.Signals | undefined
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    interrupted = signal
    if (running) end(running)
  })
}

const progress = await createProgress(names.length)
try {
  const then = options.compare === undefined ? null : readReport(options.compare)
  if (options.json !== undefined) checkOutput('--json', options.json)
  const report = await measureAll(progress)
  progress.stop()
  const changes: Change[] | null = then && compareReports(report, then)
  const { cpu, simd, pinned } = report
  const cores = pinned ? 'each process on one core' : 'not pinned to a core'
  try {
    await print(write(report, `${cpu}, ${simd} SIMD, ${cores}`, changes, options.markdown ?? false))
  } finally {
    if (options.json !== undefined) {
      writeOutput('--json', options.json, `${JSON.stringify({ ...report, changes }, null, 2)}\n`)
    }
  }
} catch (error) {
  progress.stop()
  process.stderr.write(`bench: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = interrupted ? 128 + constants.signals[interrupted] : 1
}

async function measureAll(progress: Progress): Promise<Report> {
  const tables: Table[] = []
  const skipped: string[] = []
  let pinned = true
  for (const name of names) {
    progress.section(name)
    try {
      const { command, unpinned } = onCores(SECTIONS[name]!.cores, [
        process.execPath,
        ...['--import', 'tsx', CHILD, name, JSON.stringify(settings)],
      ])
      if (unpinned !== undefined && pinned) skipped.push(`on a chosen core: ${unpinned}`)
      pinned &&= unpinned === undefined
      await measureSection(command, tables, skipped, progress)
    } catch (error) {
      if (interrupted || !(error instanceof Error)) throw error
      skipped.push(`${name}: ${error.message}`)
      if (error instanceof Unavailable) continue
      // A failed section does not end the run: the others took minutes, or are still worth
      // measuring.
      process.stderr.write(`bench: ${name} failed\n`)
      process.exitCode = 1
    }
  }
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    simd: (await hasRelaxedSimd()) ? 'relaxed' : 'plain',
    ...circumstances('bench'),
    pinned,
    tables,
    skipped,
    goals: goals(tables),
  }
}

async function measureSection(
  [program, ...words]: readonly string[],
  tables: Table[],
  skipped: string[],
  progress: Progress,
): Promise<void> {
  const child = spawn(program!, words, {
    // A process group of its own, so that its children can be ended with it.
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  running = child
  let failed: string | undefined
  child.on('message', (message: Message) => {
    if ('progress' in message) progress.at(message.progress)
    if ('table' in message) tables.push(message.table)
    if ('skip' in message) skipped.push(message.skip)
    if ('failed' in message) failed = message.failed
  })
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  running = undefined
  if (interrupted) throw new Error(`ended by ${interrupted}`)
  if (failed !== undefined) throw new Error(failed)
  if (code !== 0) throw new Error(`its process ended with ${signal ?? code}`)
}

/** Ends a process and all that it started. */
function end({ pid }: ChildProcess): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // ESRCH: the group has ended
  }
}

function parse(): { names: readonly string[]; options: Options } {
  const known = Object.keys(SECTIONS)
  const about = Object.entries(SECTIONS).map(
    ([name, section]) => `  ${name.padEnd(10)} ${section.about}`,
  )
  const command = new Command('bench')
    .description(
      'Times kernels and steps of the built package, one thread on one core, beside what memory gives\n' +
        'and what other libraries take. Medians; ± is the median distance from them.',
    )
    .addArgument(new Argument('[sections...]', 'what to measure; all if none').choices(known))
    .option('--quick', 'ranks 1, 2 and 4, fewer shapes, less time')
    .option('--tiny', 'tiny shapes and hardly any time: to see that it works')
    .option('--all', 'GPT-2 as well: some GB of memory')
    .option('--json <file>', 'write everything to a file')
    .option('--compare <file>', 'ratios beside those of such a file, and which have changed')
    .option('--markdown', 'print tables as Markdown')
    .addHelpText('after', `\nSections:\n${about.join('\n')}`)
    .parse()
  const [asked] = command.processedArgs as [string[]]
  return { names: asked.length > 0 ? asked : known, options: command.opts<Options>() }
}
