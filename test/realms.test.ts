// Arrays, buffers and promises of another realm, as iframes, node:vm, jest and vitest with jsdom
// have them: every function takes them as it takes its own, with the same bits.
import { createContext, runInContext } from 'node:vm'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { topK } from '../src/baselines.ts'
import { dad } from '../src/factored.ts'
import { fromPayload, inspect, joinSlices, payload, splitFrame } from '../src/frames.ts'
import { createGossip } from '../src/gossip.ts'
import {
  aggregate,
  createAggregate,
  createCompressor,
  createSgd,
  mergeCheckpoints,
} from '../src/index.ts'
import { qr, reference } from '../src/kernels.ts'
import { accordion } from '../src/methods.ts'
import { same, sameBytes as sameAs } from './support/close.ts'

const realm = createContext({})
const foreign = runInContext(
  `({
    floats: (values) => Float32Array.from(values),
    bytes: (values) => Uint8Array.from(values),
    buffer: (values) => Uint8Array.from(values).buffer,
    list: (values) => Array.from(values),
    promise: (value) => Promise.resolve(value),
    object: (entries) => Object.fromEntries(entries),
  })`,
  realm,
)
const SHAPES = [[6, 8], [5]]
const OPTIONS = { rank: 2, minCompressionRate: 0 }
const model = () =>
  SHAPES.map((shape, i) =>
    numbers(
      shape.reduce((a, b) => a * b, 1),
      i,
    ),
  )
const foreignModel = (): Float32Array[] => foreign.list(model().map(foreign.floats))

const test = suite('realms')

test('a whole step, its checkpoint and the optimizer', async () => {
  const own = await createCompressor(SHAPES, OPTIONS)
  const other = await createCompressor(
    foreign.list(SHAPES.map(foreign.list)),
    foreign.object(Object.entries(OPTIONS)),
  )
  assert.not.ok(foreignModel()[0] instanceof Float32Array)
  for (let step = 0; step < 2; step++) {
    const [mine, theirs] = [model(), foreignModel()]
    const frames: Uint8Array[] = []
    await own.step(mine, (frame) => {
      frames.push(frame)
      return aggregate([frame])
    })
    await other.step(theirs, (frame) => {
      sameBytes(frame, frames.shift()!)
      return foreign.promise(foreign.buffer(aggregate(foreign.list([foreign.buffer(frame)]))))
    })
    for (const [i, array] of theirs.entries()) same(array, mine[i]!)
  }
  const saved = await own.save()
  sameBytes(await other.save(), saved)
  other.join(foreign.bytes(saved))
  await other.adopt(foreign.buffer(saved))
  sameBytes(
    mergeCheckpoints([foreign.bytes(saved), foreign.buffer(saved)]),
    mergeCheckpoints([saved, saved]),
  )
  const restored = await createCompressor(SHAPES, { ...OPTIONS, restore: foreign.buffer(saved) })
  sameBytes(await restored.save(), saved)
  const sgd = await createSgd(restored, { learningRate: 0.1 })
  const x = foreignModel()
  await sgd.step(x, foreignModel(), (frame) => foreign.promise(foreign.bytes(frame)))
  sgd.apply(x, foreignModel())
  const again = await createSgd(own, {
    learningRate: 0.1,
    restore: foreign.bytes(await sgd.save()),
  })
  assert.is(again.learningRate, sgd.learningRate)
})

test('frames on a server', async () => {
  const sender = await createCompressor(SHAPES, OPTIONS)
  const frame = await sender.compress(model())
  const sum = createAggregate()
  for (const given of [foreign.bytes(frame), foreign.buffer(frame)]) {
    assert.equal(inspect(given), inspect(frame))
    sum.add(given)
    sameBytes(sum.result(), aggregate([frame]))
    sum.reset()
    sameBytes(joinSlices(splitFrame(given, 100).map(foreign.buffer)), frame)
    same(payload(given), payload(frame))
    sameBytes(
      fromPayload(foreign.floats(payload(given)), given, 1),
      fromPayload(payload(frame), frame, 1),
    )
  }
  await sender.receive(foreign.buffer(aggregate([frame])))
  assert.is(sender.stats.bytesReceived, frame.length)
})

test('methods that look at gradients, callers’ random numbers, gossip and kernels', async () => {
  for (const method of [topK({ ratio: 0.5 }), accordion({ low: 1, high: 2, window: 2 })]) {
    const own = await createCompressor(SHAPES, { method })
    const other = await createCompressor(SHAPES, { method })
    sameBytes(await other.compress(foreignModel()), await own.compress(model()))
  }
  const factors = () => ({ activations: numbers(16, 1), deltas: numbers(12, 2) })
  const theirs = foreign.object(Object.entries(factors()).map(([k, v]) => [k, foreign.floats(v)]))
  const frames = [factors(), theirs].map(async (one) => {
    const compressor = await createCompressor([[6, 8]], { method: dad({ samples: 2 }) })
    return compressor.compress([one])
  })
  sameBytes(await frames[1]!, await frames[0]!)

  const random = (..._of: number[]) => numbers(_of.at(-1)!, 3)
  const drawn = await createCompressor([[6, 8]], {
    ...OPTIONS,
    random: (...of) => foreign.floats(random(...of)),
  })
  sameBytes(
    await drawn.save(),
    await (await createCompressor([[6, 8]], { ...OPTIONS, random })).save(),
  )

  const [a, b] = await Promise.all(
    [0, 1].map((self) =>
      createGossip(SHAPES, { self, neighbours: foreign.object([[1 - self, 0.5]]) }),
    ),
  )
  const fromA = (await a!.begin(foreignModel())).get(1)!
  const fromB = (await b!.begin(model())).get(0)!
  assert.is(a!.receive(1, foreign.buffer(fromB)), 'taken')
  assert.is(b!.receive(0, foreign.bytes(fromA)), 'taken')
  await a!.apply(foreignModel())
  await createGossip(SHAPES, { self: 0, restore: foreign.buffer(a!.save()) })

  const { q } = await qr(reference, foreign.floats([1, 2, 3, 4, 5, 7]), 3, 2)
  same(q, (await qr(reference, Float32Array.of(1, 2, 3, 4, 5, 7), 3, 2)).q)
})

test.run()

function numbers(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => Math.sin(i + seed))
}

function sameBytes(actual: Uint8Array, expected: Uint8Array): void {
  sameAs(actual, expected, 'bytes')
}
