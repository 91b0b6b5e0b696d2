// Ranks by energy where the residual is on the GPU: its norms come back, and nothing else.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { GpuTensor } from '../../../src/backend.ts'
import { webgpu } from '../../../src/backends/webgpu/index.ts'
import { createCompressor, UnsupportedError } from '../../../src/index.ts'
import { accordion, byEnergy } from '../../../src/methods.ts'
import { ofRank } from '../../support/low-rank.ts'
import { ALL } from '../../support/norms.ts'
import { audit } from './audit.ts'
import { openDevice } from './device.ts'
import { layTensors } from './tensors.ts'

const SHAPES = [[24, 18], [5], [16, 30]]

const opened = await openDevice()
const test = suite('by energy on WebGPU')

if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened
  test.after(() => device.destroy())

  test('finds the rank of gradients in buffers, and reads back a few words for it', async () => {
    const { counts, reset } = audit(device)
    const method = byEnergy({ fraction: 0.999, most: 8, every: 2 })
    const backend = await webgpu({ device })
    const worker = await createCompressor(SHAPES, { ...ALL, method, backend })
    const twin = await createCompressor(SHAPES, { ...ALL, method })
    const read: number[] = []
    for (let t = 0; t < 16; t++) {
      const gradients = SHAPES.map(([rows, cols = 1], i) =>
        ofRank(rows!, cols, Math.min(cols, t < 6 ? 3 : 5), 1, i),
      )
      reset()
      const tensors = layTensors(device, gradients, 'one buffer', 'f32')
      await worker.step(tensors, async (frame) => frame)
      for (const tensor of tensors) ((tensor as GpuTensor).buffer as GPUBuffer).destroy()
      read.push(counts.readBytes)
      await twin.step(gradients, async (frame) => frame)
      assert.equal(worker.stats.ranks, twin.stats.ranks, `step ${t}`)
      if (t === 5) assert.equal(worker.stats.ranks, [3, 0, 3])
    }
    assert.equal(worker.stats.ranks, [5, 0, 5])
    // Two words for 4096 floats of each parameter, in deciding steps.
    assert.is(read[3]! - read[2]!, 8 * SHAPES.length)
    worker.dispose()
  })

  test('accordion takes arrays, and refuses buffers', async () => {
    const method = accordion({ low: 1, high: 2, window: 1 })
    const backend = await webgpu({ device })
    const worker = await createCompressor(SHAPES, { ...ALL, method, backend })
    const arrays = () => SHAPES.map(([rows, cols = 1], i) => ofRank(rows!, cols, 1, 1, i))
    for (let t = 0; t < 2; t++) await worker.step(arrays(), async (frame) => frame)
    assert.equal(worker.stats.ranks, [1, 0, 1])
    const before = await worker.residualNorm()
    const buffers = layTensors(device, arrays(), 'one buffer', 'f32')
    let refused: unknown
    await worker.compress(buffers).catch((error: unknown) => {
      refused = error
    })
    assert.instance(refused, UnsupportedError)
    assert.is(await worker.residualNorm(), before)
    await worker.step(arrays(), async (frame) => frame)
    worker.dispose()
  })
}

test.run()
