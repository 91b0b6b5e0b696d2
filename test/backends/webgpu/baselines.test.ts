// lowrank/baselines on WebGPU: what a worker's session does for them is as on wasm.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { webgpu } from '../../../src/backends/webgpu/index.ts'
import { aggregate, createCompressor } from '../../../src/index.ts'
import { BASELINES } from '../../algorithms/baselines/expected.ts'
import { within } from '../../support/close.ts'
import { residualsOf } from '../../support/fleet.ts'
import { gradientsOf } from '../../support/numbers.ts'
import { openDevice } from './device.ts'
import { layTensors, readTensors } from './tensors.ts'

const SHAPES = [[6, 5], [7], [3, 8], [1, 9], [40]]

const opened = await openDevice()
const test = suite('baselines on WebGPU')

if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened
  test.after(() => device.destroy())

  for (const { name, options } of BASELINES) {
    test(`${name} is as on wasm`, async () => {
      const backend = await webgpu({ device })
      const gpu = await createCompressor(SHAPES, { ...options, backend })
      const cpu = await createCompressor(SHAPES, { ...options })
      const other = await createCompressor(SHAPES, { ...options, sender: 1, wire: 'int8' })
      for (let step = 0; step < 3; step++) {
        const gradients = gradientsOf(SHAPES, step)
        const theirs = await other.compress(gradientsOf(SHAPES, 10 + step))
        // Each has its own frame in the mean: they may differ in the last bits of singular vectors.
        const there = layTensors(device, gradients, 'one buffer', 'f32')
        const into = gradients.map((g) => new Float32Array(g.length))
        const frames = [await gpu.compress(there), await cpu.compress(gradients)]
        const means = frames.map((frame) => aggregate([frame, theirs]))
        assert.is(await gpu.receive(means[0]!), null)
        assert.is(await cpu.receive(means[1]!), null)
        await other.receive(means[1]!)
        await other.decompress(null)
        assert.equal(await gpu.decompress(there), await cpu.decompress(into))
        assert.ok(Math.abs(gpu.updateNorm! - cpu.updateNorm!) <= 1e-5 * cpu.updateNorm!)
        for (const [i, x] of (await readTensors(device, there, into, 'f32')).entries()) {
          within(x, into[i]!, () => 1e-5)
        }
        const want = await residualsOf(cpu)
        for (const [i, e] of (await residualsOf(gpu)).entries()) within(e, want[i]!, () => 1e-5)
        // As the other one has it, so that the next step's frames are of one history.
        gpu.join(await cpu.save({ residual: false }))
      }
      gpu.dispose()
      cpu.dispose()
      other.dispose()
    })
  }
}

test.run()
