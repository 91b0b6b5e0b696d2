// Trains one model twice from the same start, uncompressed and compressed, on worker processes
// that exchange frames; then reports the loss, the bytes and the time of both runs.
import { constants } from 'node:os'
import { checkOutput, print, writeOutput } from '../../scripts/output.ts'
import { createFleet } from './coordinator.ts'
import { endWithLauncher, launch, startedByMpi } from './mpirun.ts'
import { parse, type RingOptions, type StarOptions, type Texts } from './options.ts'
import { createProgress, SILENT } from './progress.ts'
import { createReport, type Report, table } from './report.ts'
import { createRing } from './ring.ts'
import type { GossipName } from './ringprotocol.ts'
import { createRingReport, ringTable } from './ringreport.ts'
import type { RingRun } from './ringrun.ts'
import type { Fleet } from './run.ts'
import { createCorpus, readText } from './text.ts'

/** A signal has ended the run. */
class Interrupted extends Error {
  readonly exitCode: number

  constructor(signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') {
    super(`ended by ${signal}`)
    this.exitCode = 128 + constants.signals[signal]
  }
}

try {
  const options = parse()
  // Under MPI, worker 0 writes it, perhaps on another machine.
  if (!startedByMpi()) checkOutput('--svg', options.svg)
  if (options.topology === 'ring') await gossip(options)
  else if (options.transport === 'ws') await coordinate(options)
  else if (startedByMpi()) await takePart(options)
  else await launch(options.settings.workers, catchSignals())
} catch (error) {
  process.stderr.write(`demo: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = error instanceof Interrupted ? error.exitCode : 1
}

/** Trains on workers that this process starts. */
async function coordinate(options: StarOptions): Promise<void> {
  const { settings, text } = options
  const signal = catchSignals()
  const corpus = createCorpus(readText(text), settings.workers)
  process.stderr.write(`starting ${settings.workers} workers …\n`)
  const fleet = await createFleet(corpus, settings, signal)
  const runs = await trainTwice(fleet, settings.steps, true)
  await publishStar(createReport('ws', settings, corpus, ...runs), options)
}

/**
 * Trains in a ring of workers that this process starts: first by plain gossip, then by PowerGossip.
 */
async function gossip(options: RingOptions): Promise<void> {
  const { settings, text } = options
  const signal = catchSignals()
  const corpus = createCorpus(readText(text), settings.workers)
  const plain = await train('plain', 'plain gossip')
  const powerGossip = await train('powergossip', ' PowerGossip')
  const report = createRingReport(settings, corpus, plain, powerGossip)
  const picture = async () => (await import('./plot.ts')).plotRing(report)
  await publish(report, ringTable(report), picture, options)

  async function train(gossip: GossipName, name: string): Promise<RingRun> {
    process.stderr.write(`starting ${settings.workers} workers …\n`)
    const ring = await createRing(corpus, settings, gossip, signal)
    tellProcesses(ring.processes)
    const progress = createProgress(name, settings.steps)
    try {
      return await ring.train(progress)
    } finally {
      progress.stop()
      await ring.close()
    }
  }
}

/** Trains as one of the workers that mpirun has started; the first one reports. */
async function takePart(options: StarOptions): Promise<void> {
  const { openMpi } = await import('./mpi.ts') // loads koffi's native code, which only MPI needs
  const { joinFleet } = await import('./collective.ts')
  const mpi = openMpi()
  const { worker, workers } = mpi
  if (worker === 0) endWithLauncher()
  try {
    if (worker === 0) checkOutput('--svg', options.svg)
    if (options.workersGiven && options.settings.workers !== workers) {
      throw new RangeError(
        `"--workers": expected ${workers}, as many as MPI has, got ${options.settings.workers}`,
      )
    }
    const settings = { ...options.settings, workers }
    const corpus = createCorpus(readText(options.text), workers)
    const fleet = await joinFleet(mpi, corpus, settings)
    const runs = await trainTwice(fleet, settings.steps, worker === 0)
    if (worker === 0) await publishStar(createReport('mpi', settings, corpus, ...runs), options)
  } catch (error) {
    throw new Error(`worker ${worker}: ${(error as Error).message}`, { cause: error })
  }
}

/** @param shown  whether this process shows the progress */
async function trainTwice(fleet: Fleet, steps: number, shown: boolean) {
  if (shown) tellProcesses(fleet.processes)
  try {
    return [await train(false), await train(true)] as const
  } finally {
    await fleet.close()
  }

  async function train(compressed: boolean) {
    if (!shown) return await fleet.train(compressed, SILENT)
    const progress = createProgress(compressed ? '  compressed' : 'uncompressed', steps)
    try {
      return await fleet.train(compressed, progress)
    } finally {
      progress.stop()
    }
  }
}

/** Publishes the results of a star's two runs. @throws Error  if workers differ that should not */
async function publishStar(report: Report, options: Texts): Promise<void> {
  // It takes a second to load, which `--help` need not wait for.
  const picture = async () => (await import('./plot.ts')).plot(report)
  await publish(report, table(report), picture, options)
  if (!report.agreed) throw new Error('the workers’ parameters differ')
}

/** Prints the results, then draws the picture: each even if the other fails. */
async function publish(
  report: object,
  table: string,
  picture: () => Promise<string>,
  { svg, json }: Texts,
): Promise<void> {
  try {
    await print(json ? JSON.stringify(report, null, 2) : table)
  } finally {
    writeOutput('--svg', svg, await picture())
    process.stderr.write(`the picture: ${svg}\n`)
  }
}

function tellProcesses(processes: readonly number[]): void {
  process.stderr.write(`workers are ready: processes ${processes.join(', ')}\n`)
}

function catchSignals(): AbortSignal {
  const controller = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => controller.abort(new Interrupted(signal)))
  }
  return controller.signal
}
