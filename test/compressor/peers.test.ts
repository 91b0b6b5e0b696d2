// What the frames of one worker may do to the others: values are bounded, so no update overflows,
// and no residual keeps a worker from later steps.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { beginFrame, decodeFrame, sealFrame } from '../../src/codec/frame.ts'
import { encodeSafetensors } from '../../src/codec/safetensors.ts'
import {
  aggregate,
  type Compressor,
  createAggregate,
  createCompressor,
  FrameError,
  type Options,
  RoundError,
} from '../../src/index.ts'
import { dion, paper, pytorch } from '../../src/methods.ts'
import { errorOf } from '../support/errors.ts'
import { createFleet, stepTogether } from '../support/fleet.ts'
import { gradientsOf } from '../support/numbers.ts'
import { readState } from '../support/safetensors.ts'

const SHAPES = [[12, 10], [7]]
const OPTIONS: Options = { rank: 2, minCompressionRate: 0 }
const MOST = 2 ** 64 - 2 ** 40
const MOST_WEIGHT = 2 ** 127 * (2 - 2 ** -23)

const test = suite('peers')

/** The frame of another worker, 9, in the round of this one. */
function forge(
  frame: Uint8Array,
  weight: number,
  fill: (values: Float32Array) => void,
): Uint8Array {
  const header = decodeFrame(frame)
  const senders = Uint32Array.of(9)
  const { bytes, floats } = beginFrame({ ...header, senders, weight }, header.values.length)
  fill(floats!)
  return sealFrame(bytes)
}

/** One step of two workers; `forged` adds a frame of a third one to each round. */
async function step(
  workers: readonly Compressor[],
  t: number,
  into: (Float32Array[] | null)[],
  forged: ((frame: Uint8Array, round: number) => Uint8Array) | null,
) {
  let frames: (Uint8Array | null)[] = workers.map((worker, w) =>
    worker.compressSync(gradientsOf(SHAPES, 10 * t + w)),
  )
  for (let round = 0; frames[0]; round++) {
    const all = forged ? [...frames, forged(frames[0], round)] : frames
    const mean = aggregate(all as Uint8Array[])
    frames = workers.map((worker) => worker.receiveSync(mean))
  }
  return workers.map((worker, w) =>
    worker.decompressSync(into[w]!, { scale: -1, accumulate: true }),
  )
}

test('the largest values, with the largest weight, step for step: parameters stay finite', async () => {
  for (const options of [{}, { errorFeedback: 'none' }, { method: pytorch() }, { iterations: 2 }]) {
    const workers = await createFleet(SHAPES, 2, { ...OPTIONS, ...options } as Options)
    const parameters = workers.map(() => gradientsOf(SHAPES, 99))
    for (let t = 0; t < 20; t++) {
      await step(workers, t, parameters, (frame) =>
        forge(frame, MOST_WEIGHT, (values) => {
          for (let i = 0; i < values.length; i++) values[i] = i % 7 === 0 ? MOST : -MOST
        }),
      )
    }
    for (const x of parameters.flat()) assert.ok(x.every(Number.isFinite))
    for (const worker of workers) assert.ok(Number.isFinite(await worker.residualNorm()))
  }
})

test('values that are not below 2⁶⁴ are refused by aggregate, add and receive', async () => {
  const [worker] = await createFleet(SHAPES, 1, OPTIONS)
  const frame = worker!.compressSync(gradientsOf(SHAPES, 1))
  const { valuesAt } = decodeFrame(frame)
  const bad = forge(frame, 2 ** -140, (values) => {
    values[5] = -(2 ** 64)
  })
  const server = createAggregate()
  server.add(frame)
  for (const call of [() => aggregate([frame, bad]), () => server.add(bad)]) {
    const error = await errorOf(call)
    assert.instance(error, FrameError)
    assert.is((error as FrameError).byte, valuesAt + 20)
    assert.match(error.message, /not below 2⁶⁴, from sender 9/)
  }
  assert.equal(server.senders, [0])
  const before = worker!.stats
  assert.instance(await errorOf(() => worker!.receive(bad)), FrameError)
  assert.equal(worker!.stats, before)
  assert.ok(await worker!.receive(server.result()))
})

for (const [name, options] of Object.entries<Options>({
  aggregated: { errorFeedback: 'aggregated' },
  pytorch: { method: pytorch() },
  dion: { method: dion({ momentum: 0 }) },
  local: {},
})) {
  test(`${name}: one step of the largest values keeps nobody from the later ones`, async () => {
    const workers = await createFleet(SHAPES, 2, { ...OPTIONS, ...options })
    for (let t = 0; t < 6; t++) {
      const forged = (frame: Uint8Array) => forge(frame, MOST_WEIGHT, (x) => x.fill(MOST))
      const outcomes = await step(workers, t, [null, null], t === 1 ? forged : null)
      for (const { counted } of outcomes) assert.ok(counted, `step ${t}`)
    }
    for (const { stats } of workers) {
      assert.is(stats.counted, 6)
      assert.is(stats.dropped, name === 'local' ? 0 : 1)
    }
    for (const worker of workers) assert.ok((await worker.residualNorm()) < 1000)
  })
}

test('raw parameters alone, too', async () => {
  const workers = await createFleet([[5], [3]], 2, { method: pytorch() })
  const own = (t: number) =>
    workers.map((worker, w) => worker.compressSync(gradientsOf([[5], [3]], t + w)))
  for (let t = 0; t < 4; t++) {
    const frames = own(10 * t)
    const all =
      t === 1 || t === 2 ? [...frames, forge(frames[0]!, MOST_WEIGHT, (x) => x.fill(MOST))] : frames
    const mean = aggregate(all)
    for (const worker of workers) {
      worker.receiveSync(mean)
      assert.ok(worker.decompressSync(null).counted)
    }
  }
  assert.equal(
    workers.map(({ stats }) => stats.dropped),
    [1, 1],
  )
})

test('a gradient that is too large drops no residual', async () => {
  for (const options of [{}, { errorFeedback: 'aggregated' }, { method: paper() }]) {
    const [worker] = await createFleet(SHAPES, 1, { ...OPTIONS, ...options } as Options)
    await stepTogether([worker!], [gradientsOf(SHAPES, 1)])
    for (const size of [2 ** 80, 2 ** 120, Number.POSITIVE_INFINITY]) {
      const gradients = SHAPES.map(([n, m = 1]) => new Float32Array(n! * m).fill(size))
      await stepTogether([worker!], [gradients])
    }
    const { absent, dropped } = worker!.stats
    assert.is(dropped, 0)
    assert.is(absent.factors + absent.gradient, 3)
  }
})

test('factors that are too large only in the second round: M is dropped after the step', async () => {
  const [worker] = await createFleet([[64, 256]], 1, { rank: 1 })
  const spike = new Float32Array(64 * 256)
  spike[17] = 2 ** 65
  // P has only the spike times an element of Q̂.
  await stepTogether([worker!], [gradientsOf([[64, 256]], 1)])
  await stepTogether([worker!], [[spike]])
  assert.is(worker!.stats.absent.factors, 1)
  await stepTogether([worker!], [gradientsOf([[64, 256]], 2)])
  await stepTogether([worker!], [gradientsOf([[64, 256]], 3)])
  assert.is(worker!.stats.absent.factors, 1)
  assert.is(worker!.stats.counted, 3)
  assert.is(worker!.stats.dropped, 1)
})

test('no residual reaches 2¹⁰⁰: by rescaleResidual, adopt or restore', async () => {
  const [worker, other] = await createFleet(SHAPES, 2, OPTIONS)
  await stepTogether([worker!, other!], [gradientsOf(SHAPES, 1), gradientsOf(SHAPES, 2)])
  const state = await worker!.save()
  for (const factor of [2 ** 101, -(2 ** 120), 3e38]) {
    const error = await errorOf(() => worker!.rescaleResidual(factor))
    assert.instance(error, RangeError)
    assert.match(error.message, /"factor": .*less than 2¹⁰⁰/)
  }
  assert.equal(await worker!.save(), state)
  await worker!.rescaleResidual(2 ** 90)
  await worker!.rescaleResidual(2 ** -90)

  const withResidual = (value: number) => {
    const { tensors, metadata } = readState(state)
    const list = [...tensors].map(([name, { shape, data }]) => ({
      name,
      shape,
      data: name === 'residual/0' ? data.map(() => value) : data,
    }))
    return encodeSafetensors(list, metadata)
  }
  const bad = withResidual(3e38)
  for (const call of [
    () => createCompressor(SHAPES, { ...OPTIONS, restore: bad }),
    () => worker!.adopt(bad),
    () => createCompressor(SHAPES, { ...OPTIONS, restore: withResidual(-(2 ** 100)) }),
  ]) {
    const error = await errorOf(call)
    assert.instance(error, RangeError)
    assert.match(error.message, /"checkpoint": residual\/0: .*below/)
  }
  await worker!.adopt(withResidual(2 ** 99))
  const twice = await errorOf(() => worker!.adopt(withResidual(2 ** 99)))
  assert.instance(twice, RangeError)
  assert.match(twice.message, /less than 2¹⁰⁰/)
})

test('the step after 2³² − 1 is refused before it begins', async () => {
  const [first] = await createFleet(SHAPES, 1, OPTIONS)
  const { tensors, metadata } = readState(await first!.save())
  const list = [...tensors].map(([name, { shape, data }]) => ({ name, shape, data }))
  const restore = encodeSafetensors(list, { ...metadata, step: String(0xfffffffe) })
  const worker = await createCompressor(SHAPES, { ...OPTIONS, restore })
  const gradients = gradientsOf(SHAPES, 1)
  await stepTogether([worker], [gradients])
  const { means } = await stepTogether([worker], [gradients])
  assert.is(decodeFrame(means[0]!).step, 0xffffffff)
  const before = worker.stats
  const error = await errorOf(() => worker.compress(gradients))
  assert.instance(error, RoundError)
  assert.match(error.message, /2³² − 1/)
  assert.equal(worker.stats, before)
})

test('errors name what differs, and what to do', async () => {
  const [a, b] = await createFleet(SHAPES, [{ rank: 2 }, { rank: 1 }], { minCompressionRate: 0 })
  const frames = [a!, b!].map((worker, w) => worker.compressSync(gradientsOf(SHAPES, w)))
  assert.match(
    (await errorOf(() => aggregate(frames))).message,
    /^rank of parameter 0: expected 2, got 1: .*setRank.*sender 1/,
  )
  const mean = aggregate([frames[0]!])
  const second = a!.receiveSync(mean)!
  const again = await errorOf(() => a!.receive(mean))
  assert.instance(again, FrameError)
  assert.is((again as FrameError).byte, 11)
  assert.match(
    again.message,
    /round 0 of step 0, which has been received or given up already: drop it/,
  )
  a!.receiveSync(aggregate([second]))
  a!.decompressSync(null)
  const next = a!.compressSync(gradientsOf(SHAPES, 3))
  const late = await errorOf(() => a!.receive(mean))
  assert.is((late as FrameError).byte, 12)
  assert.match(
    late.message,
    /round 0 of step 0, which has been received or given up already: drop it/,
  )
  const early = await errorOf(() => b!.receive(aggregate([next])))
  assert.match(early.message, /round 0 of step 1, which comes later: .*join\(\)/)

  for (const nothing of [undefined, null]) {
    const [worker] = await createFleet(SHAPES, 1, OPTIONS)
    const exchange = () => nothing as unknown as Uint8Array
    const error = await errorOf(() => worker!.step(gradientsOf(SHAPES, 1), exchange))
    assert.instance(error, TypeError)
    assert.match(error.message, /"exchange": .*mean.*got (undefined|null)/)
  }

  const state = await (await createFleet(SHAPES, 1, { seed: 5 }))[0]!.save()
  const options = await errorOf(() => createCompressor(SHAPES, { seed: 6, restore: state }))
  assert.match(options.message, /seed 6, got seed 5$|seed 6, got 5$/)
  const method = await errorOf(() =>
    createCompressor(SHAPES, { seed: 5, method: dion(), restore: state }),
  )
  assert.match(method.message, /expected .*dion.*, got its default/)
})

test.run()
