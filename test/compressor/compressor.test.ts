// The facade's contract: the order of calls, and the means that it accepts. powersgd.test.ts tests
// the numbers of a step, simulation.test.ts those of many steps.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  aggregate,
  type Compressor,
  createCompressor,
  FrameError,
  type Options,
  type Random,
  RoundError,
} from '../../src/index.ts'
import { sameBytes, sameFloats } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { exchange, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { gradientsOf } from '../support/numbers.ts'
import { slowBackend } from '../support/slow-backend.ts'

const test = suite('compressor')

const SHAPES = [[6, 8], [5], [3, 4, 2]]
const OPTIONS: Options = { rank: 2, minCompressionRate: 0 }
const make = (options: Options = {}) => createCompressor(SHAPES, { ...OPTIONS, ...options })
const gradients = (seed = 1) => gradientsOf(SHAPES, seed)
const zeros = () => gradients().map(({ length }) => new Float32Array(length))

// Order of calls

const PHASES: Record<string, (worker: Compressor) => Promise<unknown>> = {
  idle: async () => {},
  'round 0': (worker) => worker.compress(gradients()),
  'round 1': async (worker) => worker.receive(aggregate([await worker.compress(gradients())])),
  received: (worker) => exchange([worker], [gradients()]),
  disposed: async (worker) => worker.dispose(),
}

const CALLS: Record<string, (worker: Compressor, state: Uint8Array) => unknown> = {
  compress: (worker) => worker.compress(gradients()),
  compressSync: (worker) => worker.compressSync(gradients()),
  receive: (worker) => worker.receive(new Uint8Array(64)),
  receiveSync: (worker) => worker.receiveSync(new Uint8Array(64)),
  decompress: (worker) => worker.decompress(null),
  decompressSync: (worker) => worker.decompressSync(null),
  step: (worker) => worker.step(gradients(), (frame) => aggregate([frame])),
  abort: (worker) => worker.abort(),
  save: (worker) => worker.save(),
  join: (worker, state) => worker.join(state),
  adopt: (worker, state) => worker.adopt(state),
  setRank: (worker) => worker.setRank(1),
  rescaleResidual: (worker) => worker.rescaleResidual(2),
  residualNorm: (worker) => worker.residualNorm(),
}

const BETWEEN = ['compress', 'compressSync', 'step', 'save', 'join', 'adopt', 'setRank']
const ALLOWED: Record<string, readonly string[]> = {
  idle: [...BETWEEN, 'rescaleResidual', 'residualNorm'],
  'round 0': ['receive', 'receiveSync', 'abort'],
  'round 1': ['receive', 'receiveSync', 'abort'],
  received: ['decompress', 'decompressSync'],
  disposed: [],
}

for (const [phase, reach] of Object.entries(PHASES)) {
  test(`order of calls: ${phase}`, async () => {
    const state = await (await make()).save()
    for (const [name, call] of Object.entries(CALLS)) {
      const worker = await make()
      await reach(worker)
      const before = worker.stats
      if (ALLOWED[phase]!.includes(name)) {
        // `receive` gets zeros, which are no frame: but the call is in its turn.
        if (name.startsWith('receive')) {
          assert.instance(await errorOf(() => call(worker, state)), FrameError)
        } else await call(worker, state)
        continue
      }
      const error = await errorOf(() => call(worker, state))
      assert.instance(error, RoundError, `${name}: ${error}`)
      assert.match(error.message, name === 'step' ? 'compress' : name.replace('Sync', ''))
      assert.equal(worker.stats, before, name)
    }
  })
}

test('refused calls leave the step as it was', async () => {
  const [plain, pestered] = [await make(), await make()]
  const state = await plain.save()
  const finished: Float32Array[][] = []
  for (const worker of [plain, pestered]) {
    const pester = async (phase: string) => {
      if (worker === plain) return
      for (const [name, call] of Object.entries(CALLS)) {
        const fits = ALLOWED[phase]!.includes(name) && !name.startsWith('receive')
        if (!fits) await errorOf(() => call(worker, state))
      }
    }
    let frame: Uint8Array | null = await worker.compress(gradients())
    while (frame) {
      await pester('round 0')
      frame = await worker.receive(aggregate([frame]))
    }
    await pester('received')
    const into = zeros()
    await worker.decompress(into)
    finished.push(into)
  }
  for (const [i, want] of finished[0]!.entries()) sameFloats(finished[1]![i]!, want, 'update')
  sameBytes(await pestered.save(), await plain.save(), 'state')
})

test('a second call while one is running is refused; the first goes on', async () => {
  const [worker, plain] = [await make({ backend: slowBackend() }), await make()]
  const state = await plain.save()
  const running = worker.compress(gradients())
  for (const [name, call] of Object.entries(CALLS)) {
    const error = await errorOf(() => call(worker, state))
    assert.instance(error, RoundError, name)
    assert.match(error.message, /still running/, name)
  }
  sameBytes(await running, await plain.compress(gradients()), 'frame')
})

test('dispose may come at any time, and more than once', async () => {
  for (const reach of Object.values(PHASES)) {
    const worker = await make()
    await reach(worker)
    worker.dispose()
    worker[Symbol.dispose]()
    assert.instance(await errorOf(() => worker.compress(gradients())), RoundError)
  }
  let seen: Compressor | undefined
  {
    using worker = await make()
    seen = worker
  }
  assert.match((await errorOf(() => seen!.save())).message, /disposed/)
})

// Means

test('a mean that is not the awaited one is refused, with the byte', async () => {
  const [worker, other] = [await make({ sender: 1 }), await make({ sender: 2, seed: 9 })]
  const first = await worker.compress(gradients())
  const mean = aggregate([first])
  const foreign = aggregate([await other.compress(gradients())])
  const stats = worker.stats
  const spoilt = mean.slice()
  spoilt[100]! ^= 1
  for (const [bytes, message] of [
    [spoilt, /checksum/],
    [mean.subarray(0, 40), /at least 64 bytes/],
    [mean.subarray(0, mean.length - 4), /length/],
    [foreign, /configHash/],
  ] as const) {
    const error = await errorOf(() => worker.receive(bytes))
    assert.instance(error, FrameError)
    assert.match(error.message, message)
    assert.type((error as FrameError).byte, 'number')
    assert.equal(worker.stats, stats)
  }
  const second = await worker.receive(mean)
  const again = await errorOf(() => worker.receive(mean))
  assert.match(again.message, /round: expected 1, got 0/)
  await worker.receive(aggregate([second!]))
  await worker.decompress(null)
  await worker.compress(gradients())
  assert.match((await errorOf(() => worker.receive(mean))).message, /step: expected 1, got 0/)
})

test('two workers with one number are refused', async () => {
  const workers = [await make(), await make()]
  const frames = await Promise.all(workers.map((worker, i) => worker.compress(gradients(i + 1))))
  const clash = await errorOf(() => aggregate(frames))
  assert.instance(clash, FrameError)
  assert.match(clash.message, /sender 0 occurs twice.*`sender`/)
  // A worker that sent nothing finds its sender in the mean: another worker has the same.
  const silent = await make()
  await silent.compress(null)
  const error = await errorOf(() => silent.receive(aggregate([frames[0]!])))
  assert.instance(error, FrameError)
  assert.match(error.message, /sender 0.*number of its own/)
})

test('workers that disagree on shapes, options or history find out', async () => {
  const frame = async (options: Options, shapes = SHAPES) => {
    const worker = await createCompressor(shapes, { ...OPTIONS, ...options, sender: 1 })
    return worker.compress(gradientsOf(shapes, 1))
  }
  const random: Random = (_use, _parameter, column, _step, length) =>
    Float32Array.from({ length }, (_, i) => (i === column ? 1 : 0))
  const own = await (await make()).compress(gradients())
  for (const [other, message] of [
    [await frame({ seed: 1 }), /configHash/],
    [await frame({ iterations: 2 }), /configHash/],
    [await frame({ warmStart: false }), /configHash/],
    [await frame({}, [[8, 6], [5], [3, 4, 2]]), /configHash/],
    [await frame({ rank: 1 }), /parent|rank/],
    [await frame({ random }), /parent/],
  ] as const) {
    const error = await errorOf(() => aggregate([own, other]))
    assert.instance(error, FrameError)
    assert.match(error.message, message)
  }
  aggregate([own, await frame({ wire: 'int8' })]) // each worker's own affair
})

test('weights are rounded to float32, and their sum is in the outcome', async () => {
  const workers = [await make({ sender: 7 }), await make({ sender: 3 })]
  const { frames, outcomes } = await stepTogether(workers, [gradients(1), gradients(2)], [0.1, 0.2])
  assert.is(open(frames[0]![0]!).weight, Math.fround(0.1))
  const weight = Math.fround(0.1) + Math.fround(0.2)
  for (const outcome of outcomes)
    assert.equal(outcome, { counted: true, senders: [3, 7], weight, refused: [] })
})

test('stats count what happened', async () => {
  const worker = await make()
  const { frames, means } = await stepTogether([worker], [gradients()])
  await stepTogether([worker], [gradients()], [0])
  const last = worker.stats
  const bytes = (list: Uint8Array[]) => list.reduce((sum, { length }) => sum + length, 0)
  // A frame of weight 0 is shorter by its sender, and its mean too.
  assert.is(last.bytesSent, 2 * bytes(frames.flat()) - 8)
  assert.is(last.bytesReceived, 2 * bytes(means) - 8)
  await worker.compress(gradients())
  assert.is(worker.stats.round, 0)
  worker.abort()
  assert.equal(
    { ...worker.stats, bytesSent: 0, bytesReceived: 0 },
    {
      step: 3,
      round: null,
      ranks: [2, 0, 2],
      counted: 1,
      missed: 0,
      absent: { null: 0, weight: 1, gradient: 0, factors: 0 },
      aborted: 1,
      dropped: 0,
      bytesSent: 0,
      bytesReceived: 0,
    },
  )
})

test.run()
