// Messages between the coordinator and the workers. Text messages are JSON. Binary messages are
// lowrank frames, except for the two that follow a `task` and the one that follows `done`.
import type { Options, ParameterSpec } from 'lowrank'
import type { Sum } from './measuring.ts'
import { type MethodName, wayOf } from './methods.ts'
import { shapesOf } from './model.ts'

/** Larger than any message of the demo: a frame of the whole model, or a text. */
export const MAX_MESSAGE_BYTES = 2 ** 30

/** The variable that tells a worker its own address at the coordinator. */
export const COORDINATOR = 'LOWRANK_DEMO_COORDINATOR'

/** Types that frames can carry their values in. */
export const WIRES = ['f32', 'f16', 'bf16', 'int8'] as const
export type Wire = (typeof WIRES)[number]

/** Backends of the workers; mixed: every other worker on WebGPU. */
export const BACKENDS = ['wasm', 'webgpu', 'mixed'] as const

/**
 * The first message to a worker; two binary ones follow, its share of the text and the held-out
 * part.
 */
export interface Task {
  readonly type: 'task'
  readonly worker: number
  readonly workers: number
  readonly symbols: number
  readonly steps: number
  readonly seed: number
  readonly method: MethodName
  readonly rank: number
  readonly wire: Wire
  readonly backend: (typeof BACKENDS)[number]
  /** use SwiftShader, which computes on the CPU, as the GPU */
  readonly software: boolean
}

/** One training run from the start, with compression or without. */
export interface Begin {
  readonly type: 'begin'
  readonly compressed: boolean
}

/** The worker has no device for the backend asked for. */
export interface Unable {
  readonly type: 'unable'
  readonly reason: string
}

/** The text has been read and the model compiled. */
export interface Ready {
  readonly type: 'ready'
}

/** The loss on this worker's part of the held-out probe, after so many steps. */
export interface Loss extends Sum {
  readonly type: 'loss'
  readonly step: number
}

/**
 * The end of a run; the parameters follow as a binary message. Times are of the whole run, without
 * waiting for other workers.
 */
export interface Done {
  readonly type: 'done'
  /** SHA-256 of all parameters' bytes */
  readonly parameters: string
  /** in compress, receive and decompress */
  readonly compressionMs: number
  /** for gradients */
  readonly gradientMs: number
}

export type ToWorker = Task | Begin
export type FromWorker = Unable | Ready | Loss | Done

/** The fields of each message from a worker, besides its type. */
const FIELDS: Readonly<Record<FromWorker['type'], Readonly<Record<string, 'number' | 'string'>>>> =
  {
    unable: { reason: 'string' },
    ready: {},
    loss: { step: 'number', sum: 'number', characters: 'number' },
    done: { parameters: 'string', compressionMs: 'number', gradientMs: 'number' },
  }

/** @throws Error  unless the text is a message from a worker */
export function parseFromWorker(text: string): FromWorker {
  const told: unknown = JSON.parse(text)
  if (typeof told !== 'object' || told === null)
    throw new TypeError(`expected an object, got ${told}`)
  const message = told as Record<string, unknown>
  const known = Object.keys(FIELDS).find((type) => type === message.type)
  if (known === undefined) {
    throw new TypeError(
      `"type": expected ${Object.keys(FIELDS)}, got ${JSON.stringify(message.type)}`,
    )
  }
  for (const [field, type] of Object.entries(FIELDS[known as FromWorker['type']])) {
    if (typeof message[field] !== type) {
      throw new TypeError(`"${field}": expected a ${type}, got ${JSON.stringify(message[field])}`)
    }
  }
  return told as FromWorker
}

/** The steps after which the held-out loss is measured: more at first, when it falls fast. */
export function probes(steps: number): ReadonlySet<number> {
  const parts = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1]
  return new Set(parts.map((part) => Math.max(1, Math.round(part * steps))))
}

/**
 * The shapes and options of a run's compressors, without the sender.
 *
 * @param learningRate  of the step that begins
 */
export function compression(
  {
    symbols,
    method: name,
    rank,
    wire,
    seed,
    steps,
  }: Pick<Task, 'symbols' | 'method' | 'rank' | 'wire' | 'seed' | 'steps'>,
  compressed: boolean,
  learningRate: () => number = () => 0,
): { shapes: ParameterSpec[]; options: Options } {
  const shapes = [...shapesOf(symbols)]
  // Uncompressed runs go through the same frames, so that both are counted alike.
  if (!compressed)
    return { shapes: shapes.map((shape) => ({ shape, compress: false })), options: {} }
  const way = wayOf(name)
  const method = way.method?.({ rank, steps, learningRate })
  if (!method) return { shapes, options: { rank, seed, wire } }
  const { supportedOptions: heeds } = method
  return {
    shapes,
    options: {
      ...way.options,
      method,
      wire,
      ...(heeds.includes('rank') && { rank }),
      ...(heeds.includes('seed') && { seed }),
    },
  }
}
