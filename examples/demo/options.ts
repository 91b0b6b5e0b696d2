// What may be asked for on the command line.
import { createRequire } from 'node:module'
import { Command, InvalidArgumentError, Option } from 'commander'
import { METHODS, wayOf } from './methods.ts'
import { BACKENDS, WIRES } from './protocol.ts'
import type { Settings } from './run.ts'

/** What carries the frames. */
export const TRANSPORTS = ['ws', 'mpi'] as const
export type Transport = (typeof TRANSPORTS)[number]

export interface Options {
  readonly settings: Settings
  readonly transport: Transport
  /** whether the number of workers was asked for */
  readonly workersGiven: boolean
  readonly text: readonly string[]
  readonly svg: string
  readonly json: boolean
}

/** @throws RangeError  if two options exclude each other; commander itself ends for single ones */
export function parse(): Options {
  const command = new Command('demo')
    .description(
      'Trains a character language model on several processes, with and without low-rank gradient\n' +
        'compression, and compares loss, bytes and time.',
    )
    .addOption(
      new Option('--transport <name>', 'ws: WebSocket and a coordinator; mpi: MPI_Allreduce')
        .choices(TRANSPORTS)
        .default('ws'),
    )
    .option('-w, --workers <n>', 'worker processes', integer(1, 64), 4)
    .addOption(
      new Option('-m, --method <name>', 'what compresses').choices(METHODS).default('powersgd'),
    )
    .option('-r, --rank <n>', 'columns of the factors', integer(1, 64), 12)
    .addOption(
      new Option(
        '--wire <type>',
        'of the values in compressed frames (default: f16; f32 with mpi, which sums them)',
      ).choices(WIRES),
    )
    .addOption(
      new Option('--backend <name>', 'what workers compute on; mixed: every other one on WebGPU')
        .choices(BACKENDS)
        .default('wasm'),
    )
    .option('--software', 'for WebGPU, SwiftShader on the CPU instead of a GPU', false)
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
  const opts = command.opts()
  const { transport, workers, method, rank, wire, backend, software, steps, seed } = opts
  const { text, svg, json } = opts
  if (transport === 'mpi' && wire !== undefined && wire !== 'f32') {
    throw new RangeError(
      `"--wire": expected f32 with --transport mpi, got ${wire}: MPI_Allreduce sums float32. ` +
        'Leave --wire out, or take --transport ws',
    )
  }
  if (transport === 'mpi' && wayOf(method).summed === false) {
    throw new RangeError(
      `"--method": expected one whose frames are summed with --transport mpi, got ${method}`,
    )
  }
  if (wayOf(method).factored && backend !== 'wasm') {
    throw new RangeError(`"--backend": expected wasm with --method ${method}, got ${backend}`)
  }
  if (software && backend === 'wasm') {
    throw new RangeError('"--software": expected --backend webgpu or mixed with it')
  }
  const lib = createRequire(import.meta.url).resolve('typescript/lib/lib.dom.d.ts')
  return {
    settings: {
      workers,
      method,
      rank,
      wire: wire ?? (transport === 'mpi' ? 'f32' : 'f16'),
      backend,
      software,
      steps,
      seed,
    },
    transport,
    workersGiven: command.getOptionValueSource('workers') === 'cli',
    text: text ?? [lib],
    svg,
    json,
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
