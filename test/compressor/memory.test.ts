// DESIGN's rule 10: a step allocates nothing as large as the model, except the frames.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { aggregate, createCompressor, createSgd } from '../../src/index.ts'
import { wasm } from '../../src/threads.ts'
import { gaussian } from '../support/gaussian.ts'

const test = suite('memory')

const SHAPES = [[512, 1024], [1024], [300, 20, 3, 3], [10, 512]]
const length = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)
const DENSE_BYTES = 4 * SHAPES.reduce((sum, shape) => sum + length(shape), 0)

/** The memory that `work` asks of WebAssembly and of typed arrays. */
async function allocations(work: () => Promise<void>) {
  const { Memory } = WebAssembly
  const { grow } = Memory.prototype
  const memories: WebAssembly.Memory[] = []
  let grown = 0
  WebAssembly.Memory = class extends Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super(descriptor)
      memories.push(this)
    }
  }
  Memory.prototype.grow = function (pages) {
    grown++
    return grow.call(this, pages)
  }
  const large: number[] = []
  const { Float32Array: Float32, Uint8Array: Uint8 } = globalThis
  const watched = <T extends typeof Float32 | typeof Uint8>(plain: T): T =>
    new Proxy(plain, {
      construct(target, parts: [unknown], self) {
        const bytes = Number(parts[0]) * target.BYTES_PER_ELEMENT
        if (typeof parts[0] === 'number' && bytes >= DENSE_BYTES / 4) large.push(bytes)
        return Reflect.construct(target, parts, self === globalThis.Float32Array ? target : self)
      },
    })
  globalThis.Float32Array = watched(Float32)
  globalThis.Uint8Array = watched(Uint8)
  try {
    await work()
  } finally {
    WebAssembly.Memory = Memory
    Memory.prototype.grow = grow
    globalThis.Float32Array = Float32
    globalThis.Uint8Array = Uint8
  }
  const bytes = memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0)
  return { bytes, grown, large }
}

const gradients = SHAPES.map((shape, i) => gaussian(length(shape), i))

async function train(worker: Awaited<ReturnType<typeof createCompressor>>, steps: number) {
  for (let step = 0; step < steps; step++) {
    await worker.step(gradients, (frame) => aggregate([frame]))
  }
}

test('a compressor has the residual and little else', async () => {
  const created = await allocations(async () => {
    await createCompressor(SHAPES, { rank: 4 })
  })
  // Residual; at most four factors; the tile, tables and the host's scratch in whole pages of 64
  // KiB.
  const factors = 4 * 4 * (512 + 1024 + 300 + 180 + 10 + 512) * 4
  assert.ok(created.bytes >= DENSE_BYTES, `${created.bytes} bytes`)
  assert.ok(created.bytes <= DENSE_BYTES + factors + 6 * 65536, `${created.bytes} bytes`)
})

for (const wire of ['f32', 'f16', 'int8'] as const) {
  test(`steps make nothing as large as the model: ${wire}`, async () => {
    const worker = await createCompressor(SHAPES, { rank: 4, wire })
    await train(worker, 1)
    const used = await allocations(() => train(worker, 20))
    assert.equal(used, { bytes: 0, grown: 0, large: [] })
  })
}

test('nor with gradients in their memory, nor with several threads', async () => {
  for (const threads of [1, 2]) {
    using worker = await createCompressor(SHAPES, { resident: true, backend: wasm({ threads }) })
    const one = async () => {
      for (const [i, gradient] of worker.gradients.entries()) gradient.set(gradients[i]!)
      await worker.step(worker.gradients, (frame) => aggregate([frame]))
      await train(worker, 1)
    }
    await one()
    const used = await allocations(async () => {
      for (let i = 0; i < 10; i++) await one()
    })
    assert.equal(used, { bytes: 0, grown: 0, large: [] })
  }
})

test('the optimiser neither', async () => {
  const worker = await createCompressor(SHAPES, { rank: 4 })
  const sgd = await createSgd(worker, { learningRate: 0.1 })
  const parameters = SHAPES.map((shape) => new Float32Array(length(shape)))
  const step = async () => {
    await sgd.step(parameters, gradients, (frame) => aggregate([frame]))
  }
  await step()
  const used = await allocations(async () => {
    for (let i = 0; i < 10; i++) await step()
  })
  assert.equal(used, { bytes: 0, grown: 0, large: [] })
})

test('the watch sees what is large', async () => {
  const used = await allocations(async () => {
    new Float32Array(DENSE_BYTES / 4).fill(1)
    new WebAssembly.Memory({ initial: 2 }).grow(1)
  })
  assert.equal(used, { bytes: 3 * 65536, grown: 1, large: [DENSE_BYTES] })
})

test.run()
