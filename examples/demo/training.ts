// The loop of steps on one worker: gradient, frames, update. The caller carries the frames.
import { createHash } from 'node:crypto'
import { createCompressor, createSgd } from 'lowrank'
import { openBackend } from './backend.ts'
import { USUAL, warmthAt } from './learning-rate.ts'
import { heldOutLoss } from './measuring.ts'
import { wayOf } from './methods.ts'
import { BATCH, batchAt, CONTEXT, createModel, drawPositions } from './model.ts'
import { compression, type Done, type Loss, probes, type Task } from './protocol.ts'

/** One worker with its model compiled. */
export interface Trainer {
  /** Trains once from the start. @throws Error  if training diverges */
  train(compressed: boolean, link: Link): Promise<Trained>
  /** Releases the backend's device. */
  close(): void
}

/** A worker's results of a run, and all its last parameters, one after another. */
export interface Trained {
  readonly done: Done
  readonly parameters: Float32Array
}

/** A worker's connection to the others. */
export interface Link {
  /** Sends this worker's frame; resolves with the mean of all workers' frames of this round. */
  exchange(frame: Uint8Array): Promise<Uint8Array>
  /** Takes the loss on this worker's part of the probe. */
  measured(loss: Loss): void
}

/**
 * @param share  the text that this worker trains on
 * @param heldOut  the text that no worker trains on
 * @throws UnsupportedError  if this machine does not have the backend asked for
 */
export async function createTrainer(
  task: Task,
  share: Uint8Array,
  heldOut: Uint8Array,
): Promise<Trainer> {
  const backend = await openBackend(task)
  const model = await createModel(task.symbols)
  const anywhere = Array<number>(BATCH).fill(CONTEXT)
  const way = wayOf(task.method)
  const first = await model.start(task.seed)
  await model.gradients(first, batchAt(share, anywhere)) // compiles
  if (way.factored) await model.factors(first, batchAt(share, anywhere))
  return { train, close: () => backend.dispose?.() }

  async function train(compressed: boolean, link: Link): Promise<Trained> {
    const { momentum, learningRate: highest } = (compressed && way.optimiser) || USUAL
    let learningRate = highest
    const { shapes, options } = compression(task, compressed, () => learningRate)
    const parameters = await model.start(task.seed)
    const updates = parameters.map(({ length }) => new Float32Array(length))
    const compressor = await createCompressor(shapes, { ...options, sender: task.worker, backend })
    const sgd = await createSgd(compressor, { learningRate, momentum })
    const positions = await drawPositions(share, task.steps, task.seed, task.worker)
    const measured = probes(task.steps)
    let compressionMs = 0
    let gradientMs = 0
    for (let step = 0; step < task.steps; step++) {
      const begun = performance.now()
      const batch = batchAt(share, positions.subarray(step * BATCH, (step + 1) * BATCH))
      const factored = compressed && way.factored
      const gradients = await model[factored ? 'factors' : 'gradients'](parameters, batch)
      gradientMs += performance.now() - begun

      learningRate = highest * warmthAt(step, task.steps)
      let resumed = performance.now() // time spent waiting for other workers is not counted
      const exchange = async (frame: Uint8Array) => {
        compressionMs += performance.now() - resumed
        const mean = await link.exchange(frame)
        resumed = performance.now()
        return mean
      }
      await compressor.step(gradients, exchange, { into: updates })
      compressionMs += performance.now() - resumed

      sgd.learningRate = learningRate
      sgd.apply(parameters, updates)
      if (measured.has(step + 1)) {
        const part = { steps: task.steps, first: task.worker, every: task.workers }
        const loss = await heldOutLoss(model, parameters, heldOut, part)
        link.measured({ type: 'loss', step: step + 1, ...loss })
      }
    }
    compressor.dispose()
    const all = joined(parameters)
    const hash = createHash('sha256').update(all).digest('hex')
    return { done: { type: 'done', parameters: hash, compressionMs, gradientMs }, parameters: all }
  }
}

/** All of a model's parameters, one after another. */
export function joined(arrays: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const array of arrays) {
    all.set(array, at)
    at += array.length
  }
  return all
}
