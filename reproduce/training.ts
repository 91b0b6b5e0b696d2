// One training on simulated workers. Each has a compressor, and every frame is encoded, aggregated
// and decoded as between machines. Parameters are the same on all workers, so one model stands for
// all of them. The training checks at some steps that the workers' updates are equal to the bit.
import { aggregate, type Compressor, createCompressor, createSgd, plan } from 'lowrank'
import { readCifar, readShakespeare } from './data.ts'
import { type ConvnetSize, convnetShapes, createConvnet } from './models/convnet.ts'
import { createLstm, type LstmSize, lstmShapes } from './models/lstm.ts'
import type { Model, Score } from './models/model.ts'
import { optionsOf, type Way } from './ways.ts'

/** A model and its data. */
export type Task =
  | ({ readonly name: 'text' } & LstmSize & Course)
  | ({ readonly name: 'images' } & ConvnetSize & Course)

interface Course {
  readonly steps: number
  /** The learning rate rises to its highest in this number of steps. */
  readonly warmUp: number
  /** The learning rate is divided by ten at each of these steps. */
  readonly decays: readonly number[]
}

export interface Training {
  readonly task: Task
  readonly workers: number
  readonly way: Way
  /** the highest */
  readonly learningRate: number
  /** seed of the first parameters, of the order of data, and of compressors */
  readonly seed: number
}

export interface Trained {
  /** scores on a part of the held-out data */
  readonly curve: readonly (Score & { readonly step: number })[]
  /** on all held-out data, at the end; null: training diverged */
  readonly last: Score | null
  /** mean loss of the last tenth of all steps; null if training diverged */
  readonly trainLoss: number | null
  /** bytes of frames, and of means, for one worker in a step, on average */
  readonly sentBytes: number
  readonly receivedBytes: number
  /** the same by `plan` */
  readonly plannedSent: number
  readonly plannedReceived: number
  /** steps after which all workers' updates were found to have the same bits */
  readonly compared: number
  /** mean rank of the matrices over all steps */
  readonly meanRank: number
}

const MOMENTUM = 0.9
const GLANCES = 12
/** Updates are compared at so many steps, spread over all. */
const COMPARISONS = 10
/** Nats: far above the loss of a model that knows nothing. */
const DIVERGED = 20

/** @throws Error  if workers' updates differ */
export async function train(training: Training, data: string): Promise<Trained> {
  const { task, workers, way, seed } = training
  const model = await createModel(task, workers, seed, data)
  const { shapes, parameters } = model
  let learningRate = 0
  const options = optionsOf(way, seed, () => learningRate)
  const compressors = await Promise.all(
    Array.from({ length: workers }, (_, sender) =>
      createCompressor(shapes, { ...options, sender }),
    ),
  )
  const optimiser = await createSgd(compressors[0]!, { learningRate: 1, momentum: MOMENTUM })
  const update = parameters.map(({ length }) => new Float32Array(length))
  const other = parameters.map(({ length }) => new Float32Array(length))
  const curve: (Score & { step: number })[] = []
  let compared = 0
  let ranks = 0
  let trainLoss = 0
  let step = 0
  let diverged = false
  for (; step < task.steps && !diverged; step++) {
    learningRate = training.learningRate * shareAt(task, step)
    const loss = model.step()
    diverged = !(loss < DIVERGED)
    if (diverged) break
    if (step >= 0.9 * task.steps) trainLoss += loss
    ranks += meanOf(
      compressors[0]!.stats.ranks.flatMap((rank) =>
        rank === 'frozen' || rank === 0 ? [] : [rank],
      ),
    )
    exchange(compressors, model)
    compressors[0]!.decompressSync(update)
    const comparing = falls(step, task.steps, COMPARISONS)
    for (const [i, compressor] of compressors.slice(1).entries()) {
      compressor.decompressSync(comparing ? other : null)
      if (comparing) expectEqual(update, other, step, i + 1)
    }
    if (comparing) compared++
    optimiser.learningRate = learningRate
    optimiser.apply(parameters, update)
    if (falls(step, task.steps, GLANCES)) curve.push({ step: step + 1, ...model.evaluate(false) })
  }
  const last = diverged ? null : model.evaluate(true)
  const found = last && Number.isFinite(last.loss) ? last : null
  const { bytesSent, bytesReceived } = compressors[1]!.stats
  const { bytes, received } = plan(shapes, options)
  for (const compressor of compressors) compressor.dispose()
  return {
    curve: curve.filter(({ loss }) => Number.isFinite(loss)),
    last: found,
    trainLoss: found && trainLoss / Math.ceil(0.1 * task.steps),
    sentBytes: bytesSent / step,
    receivedBytes: bytesReceived / step,
    plannedSent: bytes,
    plannedReceived: received(workers).bytes,
    compared,
    meanRank: ranks / step,
  }
}

/** All rounds of a step, from gradients to the last mean. */
function exchange(compressors: readonly Compressor[], model: Model): void {
  let frames = compressors.map((one, worker) => one.compressSync(model.gradients(worker)))
  while (frames.length > 0) {
    const mean = aggregate(frames)
    frames = compressors.map((one) => one.receiveSync(mean)).filter((frame) => frame !== null)
  }
}

function expectEqual(
  one: readonly Float32Array[],
  other: readonly Float32Array[],
  step: number,
  worker: number,
): void {
  for (const [i, array] of one.entries()) {
    const [a, b] = [array, other[i]!].map(({ buffer }) => Buffer.from(buffer))
    if (!a!.equals(b!)) {
      throw new Error(
        `step ${step}: the updates of workers 0 and ${worker} differ in parameter ${i}`,
      )
    }
  }
}

/** The learning rate at a step, as a part of the highest. */
function shareAt({ warmUp, decays }: Course, step: number): number {
  const passed = decays.filter((decay) => step >= decay).length
  return Math.min(1, (step + 1) / warmUp) / 10 ** passed
}

/** Whether one of `count` marks, spread evenly over all steps up to the last, follows this step. */
function falls(step: number, steps: number, count: number): boolean {
  return Math.floor(((step + 1) * count) / steps) > Math.floor((step * count) / steps)
}

function meanOf(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, x) => sum + x, 0) / values.length
}

/** Shapes of the task's parameters. */
export function shapesOf(task: Task): readonly (readonly number[])[] {
  return task.name === 'text' ? lstmShapes(task) : convnetShapes(task)
}

async function createModel(
  task: Task,
  workers: number,
  seed: number,
  data: string,
): Promise<Model> {
  const share = { seed, workers }
  if (task.name === 'text') return createLstm(read('text', data), task, share)
  return createConvnet(read('images', data), task, share)
}

// Each thread reads a data set once.
type Sets = { text: ReturnType<typeof readShakespeare>; images: ReturnType<typeof readCifar> }
const READERS = { text: readShakespeare, images: readCifar }
const sets: Partial<Sets> = {}

function read<Name extends keyof Sets>(name: Name, data: string): Sets[Name] {
  sets[name] ??= READERS[name](data) as Sets[Name]
  return sets[name]!
}
