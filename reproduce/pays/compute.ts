// Times of a step of the demo without compression: its gradient and its optimiser.
import { createCompressor, createSgd } from 'lowrank'
import { BATCH, batchAt, CONTEXT, createModel } from '../../examples/demo/model.ts'
import { SYMBOLS } from './costs.ts'
import { type Budget, createLap, medianOf, sample, scatterOf } from './sampling.ts'

/** Times of one worker, alone on its core. */
export interface Compute {
  readonly gradientMs: number
  readonly optimiserMs: number
  readonly spreadMs: number
  readonly samples: number
}

export async function computeOf(budget: Budget): Promise<Compute> {
  const model = await createModel(SYMBOLS)
  const parameters = await model.start(0)
  const text = Uint8Array.from({ length: 10_000 }, (_, i) => (i * i) % SYMBOLS)
  const batch = batchAt(
    text,
    Array.from({ length: BATCH }, (_, i) => CONTEXT + 97 * i),
  )
  const compressor = await createCompressor(model.shapes)
  const sgd = await createSgd(compressor, { learningRate: 1e-6, momentum: 0.9 })
  const samples = await sample(budget, async () => {
    const lap = createLap()
    const gradients = await model.gradients(parameters, batch)
    const gradient = lap()
    sgd.apply(parameters, gradients)
    return { gradient, optimiser: lap() }
  })
  compressor.dispose()
  return {
    gradientMs: medianOf(samples, 'gradient'),
    optimiserMs: medianOf(samples, 'optimiser'),
    spreadMs: scatterOf(samples),
    samples: samples.length,
  }
}
