// Whether there is WebGPU at all: in Node, and bundled in browsers and Deno (test/runtimes/).
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { MAP, openDevice, USAGE } from './device.ts'

const DOUBLE = `
  @group(0) @binding(0) var<storage, read_write> x: array<f32>;

  @compute @workgroup_size(64)
  fn double(@builtin(global_invocation_id) id: vec3u) {
    if (id.x < arrayLength(&x)) { x[id.x] = 2 * x[id.x]; }
  }`

const opened = await openDevice()
const test = suite('a GPU')

if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened

  test.after(() => device.destroy())

  test('doubles numbers', async () => {
    const numbers = Float32Array.from({ length: 1000 }, (_, i) => i - 1 / (i + 1))
    const bytes = numbers.byteLength
    const x = device.createBuffer({
      size: bytes,
      usage: USAGE.STORAGE | USAGE.COPY_DST | USAGE.COPY_SRC,
    })
    const result = device.createBuffer({ size: bytes, usage: USAGE.MAP_READ | USAGE.COPY_DST })
    device.queue.writeBuffer(x, 0, numbers)
    const pipeline = await device.createComputePipelineAsync({
      layout: 'auto',
      compute: { module: device.createShaderModule({ code: DOUBLE }) },
    })
    const layout = pipeline.getBindGroupLayout(0)
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(
      0,
      device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer: x } }] }),
    )
    pass.dispatchWorkgroups(Math.ceil(numbers.length / 64))
    pass.end()
    encoder.copyBufferToBuffer(x, 0, result, 0, bytes)
    device.queue.submit([encoder.finish()])
    await result.mapAsync(MAP.READ)
    const doubled = new Float32Array(result.getMappedRange().slice(0))
    assert.equal(
      doubled,
      numbers.map((number) => 2 * number),
    )
    x.destroy()
    result.destroy()
  })

  test('tells an error scope of a buffer that nobody could use', async () => {
    device.pushErrorScope('validation')
    device.createBuffer({ size: 16, usage: USAGE.MAP_READ | USAGE.STORAGE })
    const error = await device.popErrorScope()
    assert.is(error?.constructor.name, 'GPUValidationError')
    assert.match(error!.message, /usage/i)
    device.pushErrorScope('validation')
    assert.is(await device.popErrorScope(), null)
  })

  test('says that it is lost, to those who wait for it as well', async () => {
    const other = await openDevice()
    assert.type(other, 'object')
    const lost = other as GPUDevice
    const buffer = lost.createBuffer({ size: 16, usage: USAGE.MAP_READ | USAGE.COPY_DST })
    const mapped = buffer.mapAsync(MAP.READ).then(
      () => 'mapped',
      (error) => error.name,
    )
    lost.destroy()
    assert.is((await lost.lost).reason, 'destroyed')
    // The standard says AbortError. Deno 2.9 has mapped it before it loses the device.
    assert.is(await mapped, 'Deno' in globalThis ? 'mapped' : 'AbortError')
  })

  test('says why it cannot have what it is asked for', async () => {
    assert.match(
      String(await openDevice({ limits: { maxBufferSize: 2 ** 52 } })),
      /^the adapter .* has maxBufferSize \d+, not 4503599627370496$/,
    )
    const feature = 'telepathy' as GPUFeatureName
    assert.match(String(await openDevice({ features: [feature] })), /^the adapter .* no telepathy$/)
  })
}

test.run()
