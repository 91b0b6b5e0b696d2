// The options of the command line.
import { createRequire } from 'node:module'
import { Command, InvalidArgumentError, Option } from 'commander'
import { METHODS, wayOf } from './methods.ts'
import { BACKENDS, WIRES } from './protocol.ts'
import type { RingSettings } from './ringprotocol.ts'
import type { Settings } from './run.ts'

/** Transports that carry the frames. */
export const TRANSPORTS = ['ws', 'mpi'] as const
export type Transport = (typeof TRANSPORTS)[number]

/** A star has a coordinator; in a ring each worker exchanges frames with two neighbours. */
const TOPOLOGIES = ['star', 'ring'] as const

export type Options = StarOptions | RingOptions

export interface StarOptions extends Texts {
  readonly topology: 'star'
  readonly settings: Settings
  readonly transport: Transport
  /** whether the number of workers was asked for */
  readonly workersGiven: boolean
}

export interface RingOptions extends Texts {
  readonly topology: 'ring'
  readonly settings: RingSettings
}

/** The input and the output. */
export interface Texts {
  readonly text: readonly string[]
  readonly svg: string
  readonly json: boolean
}

/** Defaults of each topology. */
const DEFAULTS = {
  star: { workers: 4, rank: 12, steps: 500 },
  ring: { workers: 8, rank: 8, iterations: 1, wire: 'f16', steps: 200, seed: 0 },
} as const

/** @throws RangeError  if two options exclude each other; commander itself ends for single ones */
export function parse(): Options {
  const command = new Command('demo')
    .description(
      'Trains a character language model on several processes, with and without low-rank gradient\n' +
        'compression, and compares loss, bytes and time.',
    )
    .addOption(
      new Option(
        '--topology <name>',
        'star: gradients’ mean by all; ring: each worker gossips with two neighbours',
      )
        .choices(TOPOLOGIES)
        .default('star'),
    )
    .addOption(
      new Option('--transport <name>', 'ws: WebSocket and a coordinator; mpi: MPI_Allreduce')
        .choices(TRANSPORTS)
        .default('ws'),
    )
    .option('-w, --workers <n>', 'worker processes (default: 4; 8 in a ring)', integer(1, 64))
    .addOption(
      new Option('-m, --method <name>', 'what compresses').choices(METHODS).default('powersgd'),
    )
    .option('-r, --rank <n>', 'columns of the factors (default: 12; 8 in a ring)', integer(1, 64))
    .option(
      '--iterations <n>',
      'in a ring, half-steps of PowerGossip in a training step (default: 1)',
      integer(1, 16),
    )
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
    .option(
      '-s, --steps <n>',
      'training steps in each of the two runs (default: 500; 200 in a ring)',
      integer(1, 1_000_000),
    )
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
  const { topology, transport, workers, method, rank, wire, backend, software, steps, seed } = opts
  const { iterations, svg, json } = opts
  const lib = createRequire(import.meta.url).resolve('typescript/lib/lib.dom.d.ts')
  const texts = { text: opts.text ?? [lib], svg, json }
  if (topology === 'ring') {
    if (transport !== 'ws') refuse('transport', 'ws', transport)
    if (command.getOptionValueSource('method') === 'cli') refuse('method', 'none', method)
    if (software) refuse('software', 'none', software)
    if (backend !== 'wasm') refuse('backend', 'wasm', backend)
    if (workers < 3) refuse('workers', '3 or more', workers)
    const settings = defined({ workers, rank, iterations, wire, steps, seed })
    return { topology, settings: { ...DEFAULTS.ring, ...settings }, ...texts }
  }
  if (iterations !== undefined) {
    throw new RangeError('"--iterations": expected --topology ring with it')
  }
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
  return {
    topology,
    settings: {
      ...DEFAULTS.star,
      ...defined({ workers, rank, steps }),
      wire: wire ?? (transport === 'mpi' ? 'f32' : 'f16'),
      method,
      backend,
      software,
      seed,
    },
    transport,
    workersGiven: workers !== undefined,
    ...texts,
  }
}

/** Refuses an option that PowerGossip in a ring of processes does not support. */
function refuse(option: string, expected: string, got: unknown): never {
  throw new RangeError(`"--${option}": expected ${expected} with --topology ring, got ${got}`)
}

/** Leaves out the options that were not given. */
function defined<T extends object>(values: T): Partial<T> {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as Partial<T>
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
