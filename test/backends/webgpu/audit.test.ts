import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { audit, type Counts } from './audit.ts'
import { MAP, openDevice, USAGE } from './device.ts'

const NONE: Counts = {
  passes: {},
  dispatches: 0,
  copies: 0,
  submits: 0,
  writes: 0,
  writtenBytes: 0,
  readbacks: 0,
  readBytes: 0,
  buffers: 0,
  bufferBytes: 0,
}
const opened = await openDevice()
const test = suite('audit of a device')

if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened

  test.after(() => device.destroy())

  test('counts what it is asked to do', async () => {
    const pipeline = await device.createComputePipelineAsync({
      layout: 'auto',
      compute: {
        module: device.createShaderModule({
          code: '@compute @workgroup_size(1) fn nothing() {}',
        }),
      },
    })
    const unseen = device.createBuffer({ size: 4, usage: USAGE.COPY_DST })
    const { counts, reset } = audit(device)
    assert.equal(counts, NONE)

    const both = USAGE.COPY_SRC | USAGE.COPY_DST | USAGE.INDIRECT
    const a = device.createBuffer({ size: 64, usage: both })
    const b = device.createBuffer({ size: 32, usage: USAGE.MAP_READ | USAGE.COPY_DST })
    assert.equal(counts, { ...NONE, buffers: 2, bufferBytes: 96 })

    device.queue.writeBuffer(a, 0, new Uint32Array([1, 1, 1, 9]))
    device.queue.writeBuffer(a, 16, new Float32Array(9), 1) // the other 8
    device.queue.writeBuffer(a, 16, new Float32Array(9), 1, 3)
    device.queue.writeBuffer(a, 16, new Uint16Array(9).buffer, 2)
    assert.is(counts.writes, 4)
    assert.is(counts.writtenBytes, 16 + 32 + 12 + 16)

    const encoder = device.createCommandEncoder()
    for (const label of ['project', 'settle', 'project']) {
      const pass = encoder.beginComputePass({ label })
      pass.setPipeline(pipeline)
      pass.dispatchWorkgroups(1)
      pass.dispatchWorkgroupsIndirect(a, 0)
      pass.end()
    }
    encoder.beginComputePass().end()
    encoder.copyBufferToBuffer(a, 0, b, 0, 32)
    encoder.copyBufferToBuffer(a, 32, b, 16, 16)
    device.queue.submit([encoder.finish()])
    assert.equal(counts.passes, { project: 2, settle: 1, '': 1 })
    assert.is(counts.dispatches, 6)
    assert.is(counts.copies, 2)
    assert.is(counts.submits, 1)

    await b.mapAsync(MAP.READ)
    assert.equal([...new Uint32Array(b.getMappedRange(0, 16))], [1, 1, 1, 9])
    b.unmap()
    await b.mapAsync(MAP.READ, 8, 16)
    b.unmap()
    await b.mapAsync(MAP.READ, 8)
    assert.is(counts.readbacks, 3)
    assert.is(counts.readBytes, 32 + 16 + 24)

    reset()
    assert.equal(counts, { ...NONE, buffers: 2, bufferBytes: 96 })
    a.destroy()
    a.destroy()
    unseen.destroy()
    assert.equal(counts, { ...NONE, buffers: 1, bufferBytes: 32 })
    b.destroy()
    assert.equal(counts, NONE)
  })

  test('does not count what throws', () => {
    const { counts } = audit(device)
    assert.throws(() => device.queue.submit(undefined as never))
    assert.equal(counts, NONE)
  })
}

test.run()
