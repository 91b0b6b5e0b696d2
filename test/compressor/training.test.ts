// Training: error feedback makes it converge, and its bits are equal on every engine.

import { createHash } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { aggregate, createCompressor, type Options, wasm } from '../../src/index.ts'
import { createWasmKernels, reference } from '../../src/kernels.ts'
import { paper } from '../../src/methods.ts'
import { createFleet } from '../support/fleet.ts'
import { GOLDEN, goldenBasis, goldenNormals, goldenRun } from '../support/golden.ts'
import { uniform } from '../support/numbers.ts'

const test = suite('training')

const [OUT, IN, SAMPLES, WORKERS] = [16, 24, 48, 3]

/** Each worker's own least squares: ‖W·X − Y‖² ÷ 2·SAMPLES, with noise that no W can explain. */
const PROBLEMS = Array.from({ length: WORKERS }, (_, w) => {
  const x = uniform(IN * SAMPLES, 10 + w) // by sample
  const truth = uniform(OUT * IN, 3)
  const noise = uniform(OUT * SAMPLES, 20 + w, 0.2)
  const y = noise.map((e, at) => {
    const [s, i] = [Math.floor(at / OUT), at % OUT]
    let sum = e
    for (let j = 0; j < IN; j++) sum += truth[i * IN + j]! * x[s * IN + j]!
    return sum
  })
  return { x, y }
})

/** The loss over all workers, and each worker's gradient. */
function lossAt(model: Float32Array): { loss: number; gradients: Float32Array[] } {
  let loss = 0
  const gradients = PROBLEMS.map(({ x, y }) => {
    const gradient = new Float32Array(OUT * IN)
    for (let s = 0; s < SAMPLES; s++) {
      for (let i = 0; i < OUT; i++) {
        let error = -y[s * OUT + i]!
        for (let j = 0; j < IN; j++) error += model[i * IN + j]! * x[s * IN + j]!
        loss += (error * error) / (2 * SAMPLES * WORKERS)
        for (let j = 0; j < IN; j++) gradient[i * IN + j]! += (error * x[s * IN + j]!) / SAMPLES
      }
    }
    return gradient
  })
  return { loss, gradients }
}

async function train(steps: number, options: Options): Promise<number> {
  const fleet = await createFleet([[OUT, IN]], PROBLEMS.length, options)
  const model = new Float32Array(OUT * IN)
  for (let step = 0; step < steps; step++) {
    const { gradients } = lossAt(model)
    let frames: (Uint8Array | null)[] = fleet.map((worker, w) =>
      worker.compressSync([gradients[w]!]),
    )
    while (frames.every((frame) => frame !== null)) {
      const mean = aggregate(frames)
      frames = fleet.map((worker) => worker.receiveSync(mean))
    }
    for (const [w, worker] of fleet.entries()) {
      worker.decompressSync(w === 0 ? [model] : null, { scale: -0.2, accumulate: true })
    }
  }
  return lossAt(model).loss
}

test('rank 1 with feedback reaches the dense loss in the same steps; without, it does not', async () => {
  const steps = 150
  const rank1: Options = { rank: 1, minCompressionRate: 0 }
  const dense = await train(steps, { startCompressingAfter: Number.POSITIVE_INFINITY })
  const compressed = await train(steps, rank1)
  const without = await train(steps, { ...rank1, errorFeedback: 'none' })
  assert.ok(Math.abs(compressed / dense - 1) <= 0.02, `${compressed} for ${dense}`)
  assert.ok(without / dense > 1.02, `${without} without feedback, ${dense} dense`)
  const coarse = await train(steps, { ...rank1, wire: 'int8' })
  assert.ok(Math.abs(coarse / dense - 1) <= 0.02, `${coarse} for ${dense}, int8`)
})

const sha256 = async (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

test('golden: fifty steps of three workers', async () => {
  assert.is(await goldenRun({ createCompressor, aggregate, wasm }), GOLDEN.run)
})

test('golden: the same with paper()', async () => {
  const hash = await goldenRun({ createCompressor, aggregate, wasm }, sha256, { method: paper() })
  assert.is(hash, GOLDEN.paper)
})

test('golden: normals, from wasm and from the reference', async () => {
  assert.is(await goldenNormals(await createWasmKernels()), GOLDEN.normals)
  assert.is(await goldenNormals(reference, sha256), GOLDEN.normals)
})

test('golden: orthonormal bases', async () => {
  assert.is(await goldenBasis(await createWasmKernels()), GOLDEN.basis)
})

test.run()
