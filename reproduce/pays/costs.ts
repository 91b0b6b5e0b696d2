// Times each method on this machine: compression, aggregation and decompression of gradients of
// known models.
import { aggregate, type Compressor, createCompressor, type Options, plan } from 'lowrank'
import { randomBlock, randomK, signNorm, topK } from 'lowrank/baselines'
import { createWasmKernels } from 'lowrank/kernels'
import { halfSteps } from 'lowrank/methods'
import { GPT2, LSTM, lengthsOf, RESNET18 } from '../../bench/models.ts'
import { shapesOf } from '../../examples/demo/model.ts'
import { type Budget, createLap, medianOf, sample, scatterOf } from './sampling.ts'
import type { Cost } from './steptime.ts'

/** Workers in the star that the tables are about. */
export const WORKERS = 4

/** Different characters in the text that the demo brings along. */
export const SYMBOLS = 103

const MODELS = {
  demo: shapesOf(SYMBOLS),
  'ResNet-18': RESNET18,
  LSTM,
  'GPT-2': GPT2,
} as const

export type ModelName = keyof typeof MODELS

interface Way {
  /** nothing is compressed */
  readonly raw?: true
  /** number of steps after which the kinds of steps repeat; absent: all steps are alike */
  readonly cycle?: number
  readonly options: Options
}

/** Ways by their names in the tables. */
const WAYS = {
  uncompressed: { raw: true, options: {} },
  'uncompressed, f16': { raw: true, options: { wire: 'f16' } },
  'rank 1': { options: { rank: 1 } },
  'rank 2': { options: { rank: 2 } },
  'rank 4': { options: { rank: 4 } },
  'rank 4, f16': { options: { rank: 4, wire: 'f16' } },
  'rank 4, int8': { options: { rank: 4, wire: 'int8' } },
  'rank 4, half-steps': { cycle: 2, options: { rank: 4, method: halfSteps() } },
  'random block, rank 2': { options: { method: randomBlock({ rank: 2 }) } },
  'random k, rank 2': { options: { method: randomK({ rank: 2 }) } },
  'top k, 1/32': { options: { method: topK({ ratio: 1 / 32 }) } },
  'top k, 1/136': { options: { method: topK({ ratio: 1 / 136 }) } },
  'sign + norm': { options: { method: signNorm() } },
} as const satisfies Record<string, Way>

export type WayName = keyof typeof WAYS

export interface MeasuredCost extends Cost {
  /** median distance of a step's processor time from its median */
  readonly spreadMs: number
  readonly samples: number
}

/** A cost, with its model and its way. */
export interface Measured {
  readonly model: ModelName
  readonly way: WayName
  /** that were measured; the coordinator's time is scaled to WORKERS */
  readonly workers: number
  readonly cost: MeasuredCost
}

/**
 * @param workers  that are measured; aggregation is scaled to WORKERS
 * @throws Error  if the lengths of frames differ from those of `plan`
 */
export async function costOf(
  model: ModelName,
  wayName: WayName,
  workers: number,
  budget: Budget,
): Promise<MeasuredCost> {
  const { raw, cycle = 1, options }: Way = WAYS[wayName]
  const shapes = MODELS[model].map((shape) => (raw ? { shape, compress: false } : shape))
  const compressors = await Promise.all(
    Array.from({ length: workers }, (_, sender) =>
      createCompressor(shapes, { ...options, sender }),
    ),
  )
  const gradients = await normals(lengthsOf(MODELS[model]))
  const updates = gradients.map(({ length }) => new Float32Array(length))
  const total = { sent: 0, received: 0, steps: 0 }

  const samples = await sample(budget, () => {
    const steps = Array.from({ length: cycle }, () => step(compressors, gradients, updates))
    for (const { sent, received } of steps) {
      total.sent += sent
      total.received += received
      total.steps++
    }
    const mean = (of: (one: Step) => number) =>
      steps.reduce((sum, one) => sum + of(one), 0) / cycle / workers
    return {
      send: mean(({ sendMs }) => sendMs),
      update: mean(({ updateMs }) => updateMs),
      aggregate: WORKERS * mean(({ aggregateMs }) => aggregateMs),
    }
  })
  for (const one of compressors) one.dispose()

  const { rounds, bytes, received } = plan(shapes, options)
  agree(wayName, total.sent / total.steps, bytes)
  agree(wayName, total.received / total.steps, received(workers).bytes)
  return {
    ...{ rounds, sent: bytes, received: received(WORKERS).bytes },
    sendMs: medianOf(samples, 'send'),
    updateMs: medianOf(samples, 'update'),
    aggregateMs: medianOf(samples, 'aggregate'),
    spreadMs: scatterOf(samples),
    samples: samples.length,
  }
}

/** Times are of all workers together; bytes are of one. */
interface Step {
  readonly sendMs: number
  readonly updateMs: number
  readonly aggregateMs: number
  readonly sent: number
  readonly received: number
}

function step(
  compressors: readonly Compressor[],
  gradients: readonly Float32Array[],
  updates: Float32Array[],
): Step {
  let [sendMs, updateMs, aggregateMs, sent, received] = [0, 0, 0, 0, 0]
  const lap = createLap()
  let frames: (Uint8Array | null)[] = compressors.map((one) => one.compressSync(gradients))
  sendMs += lap()
  while (frames[0]) {
    const mean = aggregate(frames as Uint8Array[])
    aggregateMs += lap()
    sent += frames[0].length
    received += mean.length
    frames = compressors.map((one) => one.receiveSync(mean))
    if (frames[0]) sendMs += lap()
  }
  for (const one of compressors) one.decompressSync(updates)
  updateMs += lap()
  return { sendMs, updateMs, aggregateMs, sent, received }
}

function agree(way: WayName, counted: number, told: number): void {
  if (counted === told) return
  throw new Error(`${way}: frames of ${counted} bytes a step, and plan says ${told}`)
}

async function normals(lengths: readonly number[]): Promise<Float32Array[]> {
  const kernels = await createWasmKernels()
  return lengths.map((length, i) => {
    const values = new Float32Array(length)
    kernels.normal(values, 1, 0, i, 0, 0)
    return values
  })
}
