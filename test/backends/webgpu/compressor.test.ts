// The facade on WebGPU: what callers see, and what it costs the device.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Tensor } from '../../../src/backend.ts'
import { webgpu } from '../../../src/backends/webgpu/index.ts'
import { topK, uncompressed } from '../../../src/baselines.ts'
import { aggregate } from '../../../src/frames.ts'
import {
  type Compressor,
  createCompressor,
  DeviceLostError,
  type Options,
} from '../../../src/index.ts'
import { dion, halfSteps, paper, pytorch } from '../../../src/methods.ts'
import { within } from '../../support/close.ts'
import { gaussian } from '../../support/gaussian.ts'
import { BRIEF } from '../../support/shapes.ts'
import { audit } from './audit.ts'
import { openDevice, USAGE } from './device.ts'
import { failingMaps } from './failing-maps.ts'
import { small } from './small.ts'
import { type Laying, layTensors, readTensors } from './tensors.ts'

const SHAPES = [[64, 32], [64], [128, 96], [10, 128], [12]]
/** With columns that groups of four do not divide. */
const ODD = [[64, 27], [64], [16, 96], [10, 33], [3]]

const opened = await openDevice()
const test = suite('compressor on WebGPU')

if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened
  test.after(() => device.destroy())
  const on = async (options: Options = {}, shapes = SHAPES, gpu = device) =>
    createCompressor(shapes, { backend: await webgpu({ device: gpu }), ...options })

  for (const [name, options] of [
    ['PowerSGD', {}],
    ['uncompressed', { method: uncompressed() }],
    ['top-k', { method: topK({ ratio: 0.5 }) }],
  ] as const) {
    test(`${name}: a call that failed can be repeated, or says that the step is over`, async () => {
      const fresh = (await openDevice()) as GPUDevice
      const mapping = failingMaps(fresh)
      const worker = await on(options, ODD, fresh)
      const other = await createCompressor(ODD, options)
      const gradients = draw(ODD, 1)
      await roundTrips(other, gradients)
      let failures = 0
      let frame: Uint8Array | null = null
      for (let fail = 1; frame === null; fail++) {
        mapping.fail = fail
        try {
          frame = await worker.compress(gradients)
        } catch (error) {
          assert.match((error as Error).message, /planted/)
          failures++
        }
      }
      mapping.fail = 0
      // The verdict and P are read at once, but not what else is sent.
      assert.ok(failures >= (name === 'PowerSGD' ? 1 : 2), `${failures} failures`)
      if (name === 'PowerSGD') {
        const mean = aggregate([frame])
        mapping.fail = 1
        for (const message of [/planted/, /receive: this step has failed: abort it/]) {
          const error = await worker.receive(mean).catch((reason: Error) => reason)
          assert.match((error as Error).message, message)
        }
        worker.abort() // the gradient stays in the residual
        frame = await worker.compress(zeros(ODD))
      }
      while (frame) frame = await worker.receive(aggregate([frame]))
      const [update, expected] = [zeros(ODD), zeros(ODD)]
      await worker.decompress(update)
      await other.decompress(expected)
      for (const [i, want] of expected.entries()) within(update[i]!, want, () => 1e-4)
      worker.dispose()
      other.dispose()
      fresh.destroy()
    })
  }

  for (const laying of ['arrays', 'one buffer', 'scattered'] as const) {
    for (const [name, options] of [
      ['a full step', {}],
      ['two iterations', { iterations: 2 }],
      ['f16 on the wire', { wire: 'f16' }],
      ['uncompressed at first', { startCompressingAfter: 2 }],
      ['no warm start', { warmStart: false }],
      ["the paper's preset", { method: paper() }],
      ["PyTorch's", { method: pytorch() }],
      ["Dion's update", { method: dion() }],
      ['half-steps', { method: halfSteps() }],
      ['three half-steps a step', { method: halfSteps(), iterations: 3 }],
    ] as const) {
      test(`${name} is as on wasm: ${laying}`, async () => {
        const gpu = await on({ rank: 3, ...options }, ODD)
        const cpu = await createCompressor(ODD, { rank: 3, ...options })
        const x = { gpu: zeros(ODD), cpu: zeros(ODD) }
        const there = layTensors(device, x.gpu, laying, 'f32')
        for (let step = 0; step < 4; step++) {
          const gradients = draw(ODD, step)
          const to = { scale: -0.5, accumulate: true }
          await roundTrips(gpu, layTensors(device, gradients, laying, 'f32'))
          await roundTrips(cpu, gradients)
          const a = await gpu.decompress(there, to)
          const b = await cpu.decompress(x.cpu, to)
          assert.equal(a, b)
          assert.ok(Math.abs(gpu.updateNorm! - cpu.updateNorm!) <= 1e-4 * cpu.updateNorm!)
        }
        for (const [i, got] of (await readTensors(device, there, x.cpu, 'f32')).entries()) {
          // f16 rounds to one side or the other of a difference in the last bit.
          within(got, x.cpu[i]!, () => ('wire' in options ? 5e-3 : 1e-4))
        }
        assert.equal(gpu.stats, cpu.stats)
        gpu.dispose()
        cpu.dispose()
      })
    }
  }

  test('a step has 5 dispatches and 2 readbacks, and copies no more than factors', async () => {
    for (const [shapes, most] of [
      [SHAPES, 5],
      [ODD, 6],
    ] as const) {
      const fresh = await another()
      const { counts, reset } = audit(fresh)
      const compressor = await on({}, shapes, fresh)
      const tensors = layTensors(fresh, draw(shapes, 1), 'one buffer', 'f32')
      await compressor.step(tensors, async (frame) => frame)
      for (let i = 0; i < 3; i++) {
        reset()
        const { bytesSent } = compressor.stats
        await compressor.step(tensors, async (frame) => frame)
        assert.is(counts.dispatches, most, JSON.stringify(counts.passes))
        assert.is(counts.readbacks, 2)
        const factors = compressor.stats.bytesSent - bytesSent
        assert.ok(counts.readBytes < factors * 1.5 + 100, `${counts.readBytes} of ${factors}`)
        // Q̂, P̂, Q̄; and a few words that say where the update goes
        assert.ok(counts.writtenBytes < 2 * factors + 4096, `${counts.writtenBytes} of ${factors}`)
      }
      compressor.dispose()
      fresh.destroy()
    }
  })

  test('many steps leave as many buffers as there were, and dispose none', async () => {
    const fresh = await another()
    const { counts } = audit(fresh)
    const compressor = await on({}, [[8, 12], [8]], fresh)
    const layings: Laying[] = ['one buffer', 'scattered', 'arrays']
    const kept = layings.map((laying) => layTensors(fresh, draw([[8, 12], [8]], 1), laying, 'f32'))
    for (const tensors of kept) await compressor.step(tensors, async (frame) => frame)
    const { buffers, bufferBytes } = counts
    // Other runtimes take most of a minute for a thousand: they return results late.
    for (let i = 0; i < (BRIEF ? 60 : 1000); i++) {
      await compressor.step(kept[i % 3]!, async (frame) => frame)
    }
    assert.is(counts.buffers, buffers)
    assert.is(counts.bufferBytes, bufferBytes)
    compressor.dispose()
    const callers = kept.flatMap((tensors) =>
      tensors.map((one) => ('buffer' in one ? one.buffer : 0)),
    )
    assert.is(
      counts.buffers,
      new Set(callers.filter((one) => one instanceof Object && 'size' in one)).size,
    )
    fresh.destroy()
  })

  test('several compressors on one backend overlap', async () => {
    const backend = await webgpu({ device })
    const buckets = await Promise.all(
      [0, 1, 2].map((sender) => createCompressor(SHAPES, { backend, sender })),
    )
    const gradients = buckets.map((_, i) => draw(SHAPES, 10 + i))
    const running = buckets.map((bucket, i) => bucket.step(gradients[i]!, async (frame) => frame))
    await Promise.all(running)
    for (const [i, bucket] of buckets.entries()) {
      const alone = await createCompressor(SHAPES)
      const want = draw(SHAPES, 10 + i)
      await alone.step(want, async (frame) => frame)
      for (const [k, got] of gradients[i]!.entries()) within(got, want[k]!, () => 1e-4)
      bucket.dispose()
      alone.dispose()
    }
  })

  test('P̂ made on the device is as good, and workers whose bits differ are not averaged', async () => {
    const options = { orthonormalize: 'device', rank: 3 } as const
    const compressor = await on(options)
    const cpu = await createCompressor(SHAPES, { rank: 3 })
    for (let step = 0; step < 3; step++) {
      const [a, b] = [draw(SHAPES, step), draw(SHAPES, step)]
      await compressor.step(a, async (frame) => frame)
      await cpu.step(b, async (frame) => frame)
      for (const [k, got] of a.entries()) within(got, b[k]!, () => 1e-4)
    }
    compressor.dispose()
    cpu.dispose()
    await rejects(() => createCompressor(SHAPES, options), 'UnsupportedError', /webgpu\(\)/)
    await rejects(() => on({ ...options, method: paper() }), 'TypeError', /orthonormalize/)
  })

  test('what is no tensor is refused before anything changes', async () => {
    const compressor = await on()
    const good = layTensors(device, draw(SHAPES, 1), 'one buffer', 'f32')
    const { buffer } = good[0] as { buffer: GPUBuffer }
    const bare = device.createBuffer({ size: 64 * 32 * 4, usage: USAGE.COPY_DST })
    const cases: [unknown, string, RegExp][] = [
      [undefined, 'TypeError', /"gradients\[0\]": expected a Float32Array or \{ buffer/],
      [{ buffer: 7 }, 'TypeError', /"gradients\[0\]\.buffer": expected a GPUBuffer/],
      [{ buffer, offset: 2 }, 'RangeError', /"gradients\[0\]\.offset": expected a multiple of 4/],
      [{ buffer, offset: -4 }, 'RangeError', /offset/],
      [
        { buffer, offset: buffer.size - 64 },
        'RangeError',
        /"gradients\[0\]\.buffer": expected \d+ bytes/,
      ],
      [{ buffer, type: 'f64' }, 'RangeError', /"gradients\[0\]\.type"/],
      [new Float32Array(64 * 32), 'TypeError', /not some of each/],
      [{ buffer: bare }, 'TypeError', /COPY_SRC/],
    ]
    for (const [entry, name, message] of cases) {
      const tensors = [entry, ...good.slice(1)] as Tensor[]
      await rejects(() => compressor.compress(tensors), name, message)
      assert.is(compressor.stats.round, null)
    }
    await compressor.step(good, async (frame) => frame)
    assert.is(compressor.stats.counted, 1)
    const cpu = await createCompressor(SHAPES)
    await rejects(() => cpu.compress(good), 'TypeError', /expected a Float32Array/)
    await rejects(() => on({ resident: true }), 'UnsupportedError', /resident/)
    assert.throws(() => compressor.compressSync(draw(SHAPES, 1)), /asynchronously/)
    compressor.dispose()
  })

  test("another device's buffer is an exception, and the step as it was", async () => {
    const other = await another()
    const compressor = await on()
    const cpu = await createCompressor(SHAPES)
    const strange = layTensors(other, draw(SHAPES, 1), 'one buffer', 'f32')
    const scattered = layTensors(other, draw(SHAPES, 1), 'scattered', 'f32')
    await rejects(() => compressor.compress(strange), 'Error', /WebGPU/)
    await rejects(() => compressor.compress(scattered), 'Error', /WebGPU/)
    const [a, b] = [draw(SHAPES, 2), draw(SHAPES, 2)]
    await roundTrips(compressor, a)
    await roundTrips(cpu, b)
    await rejects(() => compressor.decompress(strange), 'Error', /WebGPU/)
    await compressor.decompress(a)
    await cpu.decompress(b)
    for (const [k, got] of a.entries()) within(got, b[k]!, () => 1e-4)
    await compressor.step(a, async (frame) => frame)
    await cpu.step(b, async (frame) => frame)
    for (const [k, got] of a.entries()) within(got, b[k]!, () => 1e-3)
    compressor.dispose()
    other.destroy()
  })

  test('a lost device ends every call, and says from where to go on', async () => {
    const lost = await another()
    const compressor = await on({}, SHAPES, lost)
    await compressor.step(draw(SHAPES, 1), async (frame) => frame)
    const state = await compressor.save()
    const later = await on({ sender: 1 }, SHAPES, lost)
    const pending = compressor.compress(draw(SHAPES, 2))
    lost.destroy()
    const error = await pending.then(
      () => null,
      (reason) => reason,
    )
    assert.instance(error, DeviceLostError)
    assert.is(error.savedStep, 1)
    assert.match(error.message, /lost \(destroyed\).*safe as of the save before step 1/)
    for (const call of [
      () => compressor.compress(draw(SHAPES, 2)),
      () => compressor.save(),
      () => compressor.residualNorm(),
      async () => compressor.setRank(2),
    ]) {
      await rejects(call, 'DeviceLostError', /step 1/)
    }
    const unsaved = await later.compress(null).catch((reason) => reason)
    assert.is(unsaved.savedStep, null)
    assert.match(unsaved.message, /never saved/)
    compressor.dispose()
    later.dispose()
    await rejects(() => on({}, SHAPES, lost), 'DeviceLostError', /destroyed/)
    using again = await createCompressor(SHAPES, { restore: state })
    assert.is(again.stats.step, 1)
  })

  test('whatever a device is lost before, every later call says so', async () => {
    for (const [round, ends] of [
      [0, 'compress'],
      [1, 'receive'],
      [2, 'decompress'],
    ] as const) {
      const lost = await another()
      const compressor = await on({}, SHAPES, lost)
      await compressor.step(draw(SHAPES, 1), async (frame) => frame)
      await compressor.save()
      const calls = {
        compress: () => compressor.compress(draw(SHAPES, 2)),
        receive: () => compressor.receive(frame as Uint8Array),
        decompress: () => compressor.decompress(draw(SHAPES, 2)),
        abort: async () => compressor.abort(),
        step: () => compressor.step(draw(SHAPES, 2), async (one) => one),
        save: () => compressor.save(),
        setRank: async () => compressor.setRank(2),
        residualNorm: () => compressor.residualNorm(),
      }
      let frame: Uint8Array | null = new Uint8Array(0)
      if (round > 0) frame = await compressor.compress(draw(SHAPES, 2))
      if (round > 1) {
        frame = await compressor.receive(frame)
        await compressor.receive(frame!)
      }
      lost.destroy()
      await rejects(calls[ends], 'DeviceLostError', /lost \(destroyed\).*step 1/)
      for (const call of Object.values(calls)) {
        await rejects(call, 'DeviceLostError', /lost \(destroyed\).*step 1/)
      }
      compressor.dispose()
      await rejects(calls.compress, 'RoundError', /disposed/)
    }
  })

  test('arrays of another realm are arrays', async () => {
    // As they are seen from here: no instances of this realm's Float32Array.
    const prototype = Object.create(Object.getPrototypeOf(Float32Array.prototype), {
      constructor: { value: Float32Array },
    })
    const foreign = (arrays: readonly Float32Array[]): Float32Array[] =>
      arrays.map((array) => Object.setPrototypeOf(array.slice(), prototype))
    const compressor = await on({ rank: 2 }, ODD)
    const alike = await on({ rank: 2 }, ODD)
    const [here, there] = [draw(ODD, 1), foreign(draw(ODD, 1))]
    for (let step = 0; step < 2; step++) {
      await compressor.step(there, async (frame) => frame)
      await alike.step(here, async (frame) => frame)
    }
    assert.not.ok(there[0] instanceof Float32Array)
    for (const [i, got] of there.entries()) assert.equal(Float32Array.from(got), here[i])
    const bytes = new Float64Array(64 * 27)
    const wrong = [bytes, ...here.slice(1)] as unknown as Tensor[]
    await rejects(() => compressor.compress(wrong), 'TypeError', /"gradients\[0\]".*Float64Array/)
    compressor.dispose()
    alike.dispose()
  })

  test('a device that is lost while updates come back is one error', async () => {
    const lost = await another()
    const shapes = [[400, 200]] // three parts of a staging buffer of 128 KiB
    const compressor = await on({}, shapes, small(lost, 1 << 17))
    const gradients = draw(shapes, 1)
    await roundTrips(compressor, gradients)
    const pending = compressor.decompress(gradients)
    const heard = rejects(() => pending, 'DeviceLostError', /destroyed/)
    await new Promise((resolve) => setTimeout(resolve, 0))
    lost.destroy()
    await heard
    compressor.dispose()
  })

  test('a device that cannot hold the model says so', async () => {
    // Not larger than need be, for planning makes garbage: browser/chromium.ts.
    await rejects(
      () => on({ rank: 65 }, [[1 << 19, 160]]),
      'RangeError',
      /more than this device can bind/,
    )
  })

  async function another(): Promise<GPUDevice> {
    const fresh = await openDevice()
    assert.not.type(fresh, 'string')
    return fresh as GPUDevice
  }
}
test.run()

/** The rounds of a step of a worker that is alone. */
async function roundTrips(compressor: Compressor, gradients: readonly Tensor[]): Promise<void> {
  let frame: Uint8Array | null = await compressor.compress(gradients)
  while (frame) frame = await compressor.receive(frame)
}

function draw(shapes: readonly (readonly number[])[], seed: number): Float32Array[] {
  return shapes.map((shape, i) =>
    gaussian(
      shape.reduce((a, b) => a * b),
      100 * seed + i,
    ),
  )
}

function zeros(shapes: readonly (readonly number[])[]): Float32Array[] {
  return shapes.map((shape) => new Float32Array(shape.reduce((a, b) => a * b)))
}

async function rejects(call: () => Promise<unknown>, name: string, message: RegExp): Promise<void> {
  const error = await call().then(
    () => null,
    (reason) => reason,
  )
  assert.ok(error, `expected ${name}`)
  assert.is(error.name, name, String(error))
  assert.match(error.message, message)
}
