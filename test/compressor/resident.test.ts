// Gradients inside the backend's memory: the same bits, and no copies.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Backend, createCompressor, type Options, wasm } from '../../src/index.ts'
import { createLayout } from '../../src/kernels.ts'
import { sameFloats } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { exchange, residualsOf } from '../support/fleet.ts'
import { uniform } from '../support/numbers.ts'
import { SHAPES, sameTrace, traceOf } from '../support/session-trace.ts'
import { slowBackend } from '../support/slow-backend.ts'

const test = suite('resident')

const lengths = SHAPES.map((shape) => shape.reduce((a, b) => a * b, 1))
const options: Options = { rank: 2, minCompressionRate: 0, resident: true }

test('one array per parameter, zeros, all in one memory', async () => {
  using worker = await createCompressor(SHAPES, options)
  assert.equal(
    worker.gradients.map(({ length }) => length),
    lengths,
  )
  assert.is(new Set(worker.gradients.map(({ buffer }) => buffer)).size, 1)
  assert.ok(worker.gradients.every((gradient) => gradient.every((value) => value === 0)))
  const one = await createCompressor([[2, 2]], options) // all of it in one page
  assert.is(one.gradients[0]!.length, 4)
})

const KINDS: Options[] = [
  { wire: 'f32' },
  { wire: 'int8', iterations: 2 },
  { wire: 'f16', errorFeedback: 'none' },
  { errorFeedback: 'aggregated', warmStart: false },
]

for (const shared of KINDS) {
  test(`the same bits as from arrays of the caller's: ${JSON.stringify(shared)}`, async () => {
    const want = await traceOf({}, 'foreign', shared)
    sameTrace(await traceOf({}, 'resident', shared), want, 'resident')
    sameTrace(await traceOf({}, 'mixed', shared), want, 'mixed')
  })
}

test('gradients are only read, and stay until the update is written over them', async () => {
  using worker = await createCompressor(SHAPES, options)
  const filled = lengths.map((length, i) => uniform(length, i))
  for (const [i, gradient] of worker.gradients.entries()) gradient.set(filled[i]!)
  await exchange([worker], [worker.gradients])
  for (const [i, gradient] of worker.gradients.entries()) sameFloats(gradient, filled[i]!, `${i}`)
  await worker.decompress(worker.gradients)
  assert.is.not(worker.gradients[0]![0], filled[0]![0])
})

test('nothing is copied on their way in and out; foreign arrays are', async () => {
  const layout = createLayout(SHAPES, options)
  const session = await wasm().open(layout, { resident: true })
  const foreign = lengths.map((length) => new Float32Array(length))
  const copied = async (work: () => unknown) => {
    const { set } = Float32Array.prototype
    let floats = 0
    Float32Array.prototype.set = function (from, at) {
      floats += from.length
      set.call(this, from, at)
    }
    try {
      await work()
    } finally {
      Float32Array.prototype.set = set
    }
    return floats
  }
  const through = (into: readonly Float32Array[]) => async () => {
    await session.accumulateProject(into)
    await session.withdraw(into)
    await session.settle(true, null, { into, scale: 1, accumulate: true })
  }
  const matrices = layout.denseFloats - layout.rawFloats
  assert.is(await copied(through(session.gradients!)), 0)
  // g in twice; what is added to in, and out.
  assert.is(await copied(through(foreign)), 2 * layout.denseFloats + 2 * matrices)
  // One array in another memory, or in another place, is enough.
  const mixed = session.gradients!.map((own, i) => (i === 4 ? foreign[4]! : own))
  assert.is(await copied(through(mixed)), 2 * layout.denseFloats + 2 * matrices)
})

test('factors that are not finite: the gradient is taken back in place', async () => {
  const backend: Backend = {
    name: 'overflowing',
    async open(layout, wishes) {
      const session = await wasm().open(layout, wishes)
      const read = session.read.bind(session)
      session.read = (slots, into) => {
        read(slots, into)
        if (slots.includes('left')) into[1] = Number.POSITIVE_INFINITY
      }
      return session
    },
  }
  using worker = await createCompressor(SHAPES, { ...options, backend })
  for (const gradient of worker.gradients) gradient.fill(1)
  await exchange([worker], [worker.gradients])
  await worker.decompress(null)
  assert.is(worker.stats.absent.factors, 1)
  for (const e of await residualsOf(worker)) assert.ok(e.every((x) => x === 0))
})

test('new ranks may move them: what they held stays', async () => {
  using worker = await createCompressor([[300, 400]], { ...options, rank: 1 })
  const before = worker.gradients
  before[0]!.fill(3)
  worker.setRank(200)
  assert.is(before[0]!.length, 0, 'this test needs a memory that has grown')
  assert.match((await errorOf(() => worker.compress(before))).message, /^"gradients\[0\]"/)
  assert.ok(worker.gradients[0]!.every((value) => value === 3))
  await exchange([worker], [worker.gradients])
  await worker.decompress(worker.gradients)
})

test('as large a memory as residual, gradients and factors need', async () => {
  const { Memory } = WebAssembly
  const memories: WebAssembly.Memory[] = []
  WebAssembly.Memory = class extends Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super(descriptor)
      memories.push(this)
    }
  }
  try {
    await createCompressor([[1024, 2048]], options)
  } finally {
    WebAssembly.Memory = Memory
  }
  const bytes = memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0)
  const factors = 4 * 2 * (1024 + 3 * 2048)
  assert.ok(bytes <= 2 * 4 * 1024 * 2048 + factors + 6 * 65536, `${bytes} bytes`)
})

test('an error says what is missing or wrong', async () => {
  using plain = await createCompressor(SHAPES)
  assert.match((await errorOf(() => plain.gradients)).message, /resident: true/)
  using other = await createCompressor(SHAPES, { resident: true, backend: slowBackend() })
  assert.match((await errorOf(() => other.gradients)).message, /a backend that has them/)
  const worker = await createCompressor(SHAPES, options)
  worker.dispose()
  assert.is((await errorOf(() => worker.gradients)).name, 'RoundError')
  const wrong = await errorOf(() => createCompressor(SHAPES, { resident: 1 as never }))
  assert.is(wrong.message, '"resident": expected true or false, got 1')
})

test.run()
