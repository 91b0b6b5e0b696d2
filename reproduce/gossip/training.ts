// Nodes of a ring that train one model, each on its own part of the text.
import { createCompressor } from 'lowrank'
import { uncompressed } from 'lowrank/baselines'
import { readShakespeare, type Text } from '../data.ts'
import { createLstm } from '../models/lstm.ts'
import type { Model, Score } from '../models/model.ts'
import { create, type Setting } from './methods.ts'
import { createRing, disagreement, meanOf, type Parameters } from './net.ts'

/** A run's description. */
export interface Training {
  readonly kind: 'training'
  readonly nodes: number
  readonly seed: number
  readonly steps: number
  /** the highest learning rate */
  readonly rate: number
  /** null: an all-reduce of gradients, which keeps all nodes equal */
  readonly gossip: Setting | null
  /** true: models are judged on all held-out text; false: on a part */
  readonly thorough: boolean
}

export interface Trained {
  readonly parameters: number
  /** of all frames that a node has sent in all `steps`, on average */
  readonly bytes: number
  readonly steps: number
  /** null: it has diverged */
  readonly end: {
    /** of the mean of all models */
    readonly average: Score
    /** of the node that was worst on a part of the held-out text */
    readonly worst: Score
    /** √(mean of ‖xᵢ − x̄‖²) / ‖x̄‖ */
    readonly distance: number
  } | null
}

/** The exchange that keeps nodes together. */
interface Mixing {
  /**
   * Called once per step.
   *
   * @param gradients  of each node, at its parameters before the step
   */
  iterate(gradients: readonly Parameters[]): void
  readonly bytes: number
}

const SIZE = { symbols: 65, embedding: 32, hidden: 128, length: 32 }
/** Streams of text in a step, of all nodes together. */
const STREAMS = 32
const MOMENTUM = 0.9
/**
 * The learning rate grows over the first `WARM` of the steps, and is divided by ten at each of
 * `DROPS`: PowerGossip's LSTM has these decays.
 */
const WARM = 1 / 10
const DROPS = [60 / 90, 80 / 90]
/** Nats: far above ln 65, the loss of a model that knows nothing. */
const LOST = 20

export async function train(run: Training, data: string): Promise<Trained> {
  const { nodes, seed, steps, gossip, thorough } = run
  const text = readShakespeare(data)
  const models = await Promise.all(
    Array.from({ length: nodes }, (_, i) => {
      const size = { ...SIZE, streams: STREAMS / nodes }
      return createLstm(shareOf(text, i, nodes), size, { seed: 100 * seed + i, workers: 1 })
    }),
  )
  const { shapes } = models[0]!
  const all = models.map(({ parameters }) => parameters)
  for (const own of all.slice(1)) copy(own, all[0]!)
  const mixing = gossip
    ? await createRing(create(gossip), shapes, all)
    : await createAllReduce(shapes)
  const velocities = shapes.map((_, k) => models.map(() => new Float32Array(all[0]![k]!.length)))
  const parameters = all[0]!.reduce((sum, { length }) => sum + length, 0)
  for (let step = 0; step < steps; step++) {
    const losses = models.map((model) => model.step())
    // Written so that NaN counts as diverged.
    if (!losses.every((loss) => loss < LOST)) {
      return { parameters, bytes: mixing.bytes, steps: step, end: null }
    }
    const gradients = models.map((model) => model.gradients(0))
    mixing.iterate(gradients)
    const rate = run.rate * scheduled((step + 1) / steps)
    for (const [i, own] of all.entries()) {
      for (const [k, x] of own.entries()) descend(x, gradients[i]![k]!, velocities[k]![i]!, rate)
    }
  }
  const judge = await createLstm(text, { ...SIZE, streams: STREAMS }, { seed, workers: 1 })
  return { parameters, bytes: mixing.bytes, steps, end: lookAt(all, judge, thorough) }
}

/** A part of the text to train on, for one node alone. */
function shareOf({ symbols, train, heldOut }: Text, node: number, nodes: number): Text {
  const part = Math.floor(train.length / nodes)
  return { symbols, train: train.subarray(node * part, (node + 1) * part), heldOut }
}

/** In place of gossip: all gradients become their mean, by frames of whole gradients. */
async function createAllReduce(shapes: Model['shapes']): Promise<Mixing> {
  const compressor = await createCompressor(shapes, { method: uncompressed() })
  let bytes = 0
  return {
    iterate(gradients) {
      bytes += compressor.compressSync(gradients[0]!).length
      compressor.abort()
      for (const [k, mean] of meanOf(gradients).entries()) {
        for (const own of gradients) own[k]!.set(mean)
      }
    },
    get bytes() {
      return bytes
    },
  }
}

function scheduled(part: number): number {
  return Math.min(1, part / WARM) * 0.1 ** DROPS.filter((drop) => part > drop).length
}

/** Nesterov's momentum: m ← μ·m + g, x ← x − rate·(g + μ·m) */
function descend(x: Float32Array, g: Float32Array, m: Float32Array, rate: number): void {
  for (let j = 0; j < x.length; j++) {
    m[j] = MOMENTUM * m[j]! + g[j]!
    x[j] = x[j]! - rate * (g[j]! + MOMENTUM * m[j]!)
  }
}

function lookAt(all: readonly Parameters[], judge: Model, thorough: boolean): Trained['end'] {
  const mean = meanOf(all)
  const length = Math.sqrt(mean.flatMap((x) => [...x]).reduce((sum, x) => sum + x * x, 0))
  const distance = Math.sqrt(disagreement(all, mean)) / length
  const scoreOf = (parameters: readonly ArrayLike<number>[], last: boolean) => {
    copy(judge.parameters, parameters)
    return judge.evaluate(last)
  }
  const glances = all.map((own) => scoreOf(own, false).loss)
  const worst = all[glances.indexOf(Math.max(...glances))]!
  return { average: scoreOf(mean, thorough), worst: scoreOf(worst, thorough), distance }
}

function copy(to: readonly Float32Array[], from: readonly ArrayLike<number>[]): void {
  for (const [k, x] of to.entries()) x.set(from[k]!)
}
