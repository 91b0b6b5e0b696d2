// A whole step of one worker with every method, at about the bytes of rank 2: the time that each
// costs.
//
// Gradients lie in the caller's arrays, with float32 on the wire. The worker is alone; frames
// gathered from others would come on top. bestRank is left out, for it takes seconds a step.
// Factored gradients have two layers only, for a convolution has as many samples as positions.
import { aggregate, createCompressor, type Options } from 'lowrank'
import { randomBlock, randomK, signNorm, topK, uncompressed } from 'lowrank/baselines'
import { dad, factored, rankDad } from 'lowrank/factored'
import { createWasmKernels } from 'lowrank/kernels'
import { accordion, byEnergy, dion, halfSteps, paper, pytorch } from 'lowrank/methods'
import { type Case, measure, withRatios } from './measure.ts'
import { lengthsOf, type Model } from './models.ts'
import type { Section } from './section.ts'
import { modelsOf } from './step.ts'

const FULL = 'full steps'

const METHODS: Readonly<Record<string, Options>> = {
  [FULL]: { rank: 2 },
  'half-steps': { method: halfSteps(), rank: 2 },
  accordion: { method: accordion({ low: 1, high: 2, window: 98 }) },
  'by energy': { method: byEnergy({ most: 2, every: 98 }), rank: 2 },
  dion: { method: dion(), rank: 2 },
  paper: { method: paper(), rank: 2 },
  pytorch: { method: pytorch(), rank: 2 },
  'top k': { method: topK({ ratio: 1 / 136 }) },
  'random k': { method: randomK({ rank: 2 }) },
  'random block': { method: randomBlock({ rank: 2 }) },
  'sign + norm': { method: signNorm() },
  uncompressed: { method: uncompressed() },
}

/** Two layers of 1024 × 1024. The samples are multiplied out for methods without factors. */
const LAYERS = [
  [1024, 1024],
  [1024, 1024],
]
const SAMPLES = 128

const FORMED = 'full steps, and forming the product'

const FACTORED: Readonly<Record<string, Options>> = {
  [FORMED]: { rank: 2 },
  factored: { method: factored(), rank: 2 },
  dad: { method: dad({ samples: SAMPLES }) },
  'rank-dad': { method: rankDad(), rank: 2 },
}

export const methods: Section = async (settings, { progress, table }) => {
  const [model] = modelsOf(settings)
  const cases = Object.entries(METHODS).map(([name, options]) => caseOf(name, model!, options))
  const rows = await measure(await Promise.all(cases), settings, (name) => progress(name))
  table({
    title: `methods, ${model!.name}`,
    ratios: 'times',
    against: '× full steps',
    rows: withRatios(rows),
  })
  const all = Object.entries(FACTORED).map(([name, options]) => factoredCase(name, options))
  table({
    title: `methods, factored gradients: two layers of 1024 × 1024, ${SAMPLES} samples`,
    ratios: 'times',
    against: '× the first',
    rows: withRatios(await measure(await Promise.all(all), settings, (name) => progress(name))),
  })
}

async function caseOf(name: string, { shapes }: Model, options: Options): Promise<Case> {
  const compressor = await createCompressor(shapes, options)
  const kernels = await createWasmKernels()
  const gradients = lengthsOf(shapes).map((length, i) => {
    const gradient = new Float32Array(length)
    kernels.normal(gradient, 1, 0, i, 0, 0)
    return gradient
  })
  const updates = gradients.map(({ length }) => new Float32Array(length))
  const run = () => {
    let frame: Uint8Array | null = compressor.compressSync(gradients)
    while (frame) frame = compressor.receiveSync(aggregate([frame]))
    compressor.decompressSync(updates)
  }
  return { name, run, ...(name !== FULL && { yardstick: FULL }) }
}

async function factoredCase(name: string, options: Options): Promise<Case> {
  const compressor = await createCompressor(LAYERS, options)
  const kernels = await createWasmKernels()
  kernels.reserve(2 * 1024 * SAMPLES + 1024 * 1024)
  const gradients = LAYERS.map(([rows, cols], i) => {
    const deltas = new Float32Array(SAMPLES * rows!)
    const activations = new Float32Array(SAMPLES * cols!)
    kernels.normal(deltas, 1, 0, 2 * i, 0, 0)
    kernels.normal(activations, 1, 0, 2 * i + 1, 0, 0)
    return { activations, deltas }
  })
  const products = LAYERS.map(([rows, cols]) => new Float32Array(rows! * cols!))
  const updates = products.map(({ length }) => new Float32Array(length))
  const run = () => {
    if (name === FORMED) {
      for (const [i, { activations, deltas }] of gradients.entries()) {
        const dims = { rows: 1024, cols: 1024, rank: SAMPLES }
        kernels.reconstruct(products[i]!, deltas, activations, dims) // N rows are N columns
      }
    }
    let frame: Uint8Array | null = compressor.compressSync(name === FORMED ? products : gradients)
    while (frame) frame = compressor.receiveSync(aggregate([frame]))
    compressor.decompressSync(updates)
  }
  return { name, run, ...(name !== FORMED && { yardstick: FORMED }) }
}
