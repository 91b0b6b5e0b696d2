// `byEnergy`: ranks that carry a part of ‖M‖².
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesOf } from '../../src/bytes.ts'
import {
  type Compressor,
  createCompressor,
  type Options,
  plan,
  type Rank,
} from '../../src/index.ts'
import { createLayout, wasm } from '../../src/kernels.ts'
import { byEnergy, type EnergyOptions, energyDecision } from '../../src/methods.ts'
import { sameFloats, UNIT, within } from '../support/close.ts'
import { createFleet, residualsOf, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { gaussian } from '../support/gaussian.ts'
import { ofRank } from '../support/low-rank.ts'
import { ALL } from '../support/norms.ts'
import { gradientsOf } from '../support/numbers.ts'
import { readState } from '../support/safetensors.ts'
import { slowBackend } from '../support/slow-backend.ts'

const SHAPES = [[24, 18], [5], [16, 30]]

const test = suite('by energy')

test('the smallest rank whose eigenvalues reach what is wanted; else twice as many', () => {
  const values = [8, 4, 2, 1]
  assert.is(energyDecision(values, 0), 0)
  assert.is(energyDecision(values, 8), 1)
  assert.is(energyDecision(values, 8.1), 2)
  assert.is(energyDecision(values, 15), 4)
  assert.is(energyDecision(values, 15.1), 8)
})

test('options that cannot be are refused by name', () => {
  const good = { most: 4, every: 2 }
  for (const [bad, message] of [
    [{ fraction: 1 }, /^"fraction": expected a number between 0 and 1, got 1/],
    [{ fraction: 0 }, /^"fraction"/],
    [{ fraction: '0.5' }, /^"fraction"/],
    [{ least: 0 }, /^"least": expected an integer from 1/],
    [{ least: 5 }, /^"most": expected an integer from 5/],
    [{ most: undefined }, /^"most": expected a number/],
    [{ every: 0 }, /^"every"/],
  ] as const) {
    assert.throws(() => byEnergy({ ...good, ...bad } as unknown as EnergyOptions), message)
  }
})

test('a session sums the squares of each parameter', async () => {
  const table = createLayout([[7, 9], [5], [1, 3], [16, 30]], { ...ALL, rank: 2 })
  const session = await wasm().open(table)
  const m = gaussian(table.denseFloats, 1)
  session.write('residual', bytesOf(m))
  let at = 0
  const want = table.parameters.map(({ length }) => {
    const part = m.subarray(at, at + length)
    at += length
    return part.reduce((sum, x) => sum + x * x, 0)
  })
  within(await session.norms(), want, (i) => 1e-12 * want[i]!, 'squares')
  session.dispose()
})

test('finds the rank of a gradient, and follows it: on all workers alike', async () => {
  const workers = await fleet(3, { fraction: 0.999, most: 8, every: 2 })
  const weights = [1, 3, 0.5]
  const seen: Rank[][] = []
  for (let t = 0; t < 36; t++) {
    const rank = t < 12 ? 3 : t < 24 ? 1 : 5
    const gradient = gradients(rank)
    // Workers are absent now and then, also in deciding steps.
    const given = workers.map((_, w) => ((t + w) % 4 === 0 ? null : gradient))
    const { means } = await stepTogether(workers, given, weights)
    assert.is(open(means[0]!).scalars.length, 0)
    assert.is(open(means[1]!).scalars.length, t % 2 === 1 ? 2 : 0)
    for (const { stats } of workers) assert.equal(stats.ranks, workers[0]!.stats.ranks)
    seen.push([...workers[0]!.stats.ranks])
    const factors = await Promise.all(workers.map(async (one) => readState(await one.save())))
    for (const { tensors } of factors) {
      sameFloats(tensors.get('q/2')!.data, factors[0]!.tensors.get('q/2')!.data, 'q/2')
    }
  }
  assert.equal(seen[0], [4, 0, 4], "the option's rank, to begin with")
  for (const [t, rank] of [
    [11, 3],
    [23, 1],
    [35, 5],
  ] as const) {
    assert.equal(seen[t], [rank, 0, rank], `step ${t}`)
  }
  assert.ok(
    seen.some(([rank]) => rank === 8),
    'from 1 by doubling',
  )
})

test('what matters is the part, not the size', async () => {
  for (const scale of [2 ** -60, 1, 2 ** 55]) {
    const [worker] = await fleet(1, { fraction: 0.95, most: 8, every: 1 })
    for (let t = 0; t < 8; t++) await stepTogether([worker!], [gradients(3, scale)])
    assert.equal(worker!.stats.ranks, [3, 0, 3], `${scale}`)
  }
  const [worker] = await fleet(1, { least: 2, most: 8, every: 1 })
  await stepTogether([worker!], [gradients(3, 0)])
  assert.equal(worker!.stats.ranks, [2, 0, 2], 'nothing takes no more than the least')
})

test('workers that disagree have more energy than any rank of their mean carries', async () => {
  // The mean has rank 1 and energy 1. Each worker has another part of energy 1, and the two cancel.
  const signal = gradients(1)
  const noise = gradients(4).map((x, i) => x.map((v, j) => (v - signal[i]![j]!) / Math.sqrt(3)))
  const given = [1, -1].map((sign) =>
    signal.map((x, i) => x.map((value, j) => value + sign * noise[i]![j]!)),
  )
  for (const [fraction, first] of [
    [0.45, 1],
    [0.55, 6],
  ] as const) {
    const workers = await fleet(2, { fraction, most: 6, every: 1 })
    const { means } = await stepTogether(workers, given)
    const sent = open(means[1]!).scalars[0]!
    assert.ok(Math.abs(sent ** 2 - 2) < 1e-5, `${sent ** 2}`)
    for (const { stats } of workers) assert.equal(stats.ranks, [first, 0, first], `${fraction}`)
    // A part that no column carries stays with each worker and grows, though the mean does not have
    // it.
    for (let t = 1; t < 6; t++) await stepTogether(workers, given)
    for (const { stats } of workers) assert.equal(stats.ranks, [6, 0, 6])
  }
})

test('ranks stay between bounds, where they pay, and where they are given', async () => {
  const shapes = [[24, 18], { shape: [24, 18], rank: 2 }, [20, 20], [3, 30], [4]]
  const method = byEnergy({ fraction: 0.999, least: 2, most: 6, every: 1 })
  const ranksOf = (options: Options) =>
    plan(shapes, { method, ...options }).parameters.map(({ rank }) => rank)
  // Of [24, 18], r · 42 · 2 < 432 holds up to 5; of [20, 20], r · 40 · 2 < 400 up to 4; of [3, 30],
  // not at 2.
  assert.equal(ranksOf({ rank: 1 }), [2, 2, 2, 0, 0])
  assert.equal(ranksOf({ rank: 16 }), [5, 2, 4, 0, 0])
  assert.equal(ranksOf({ rank: 16, ...ALL }), [6, 2, 6, 3, 0])
  const worker = await createCompressor(shapes, { method, rank: 3 })
  const full = [432, 432, 400, 90, 4].map((length, i) => gaussian(length, i))
  for (let t = 0; t < 3; t++) await stepTogether([worker], [full])
  assert.equal(worker.stats.ranks, [5, 2, 4, 0, 0])
  for (let t = 0; t < 3; t++) await stepTogether([worker], [full.map((x) => x.map(() => 0))])
  worker.setRank(16)
  assert.equal(worker.stats.ranks, [5, 2, 4, 0, 0])
  worker.setRank([0, 1, 3, 3, 3])
  assert.equal(worker.stats.ranks, [0, 2, 3, 0, 0])
  await stepTogether([worker], [full])
  assert.equal(worker.stats.ranks, [0, 2, 4, 0, 0], 'what is raw stays so')
})

test('a step costs what plan says, on the average', async () => {
  const options = { fraction: 0.01, least: 4, most: 4, every: 3 }
  const workers = await fleet(2, options)
  const { bytes, floats, received } = plan(SHAPES, { ...ALL, method: byEnergy(options) })
  for (let t = 0; t < 6; t++) {
    const { frames } = await stepTogether(workers, [gradients(2), gradients(2)])
    assert.is(
      frames.reduce((sum, [first]) => sum + open(first!).count, 0),
      floats,
    )
  }
  const { bytesSent, bytesReceived } = workers[0]!.stats
  assert.ok(Math.abs(bytesSent - 6 * bytes) < 1e-6, `${bytesSent}, not ${6 * bytes}`)
  assert.ok(Math.abs(bytesReceived - 6 * received(2).bytes) < 1e-6)
})

test('a switch leaves the residual alone: all is as with setRank at the right time', async () => {
  const workers = await fleet(2, { fraction: 0.7, most: 8, every: 2 })
  const twins = await createFleet(SHAPES, workers.length, { ...ALL, rank: 4 })
  const given = SHAPES.map((shape) => new Float64Array(shape.reduce((a, b) => a * b, 1)))
  const out = given.map((x) => x.slice())
  let switches = 0
  for (let t = 0; t < 16; t++) {
    const noise = workers.map((_, w) => gradientsOf(SHAPES, 20 * t + w, 0.05))
    const own = gradients(1 + ((t >> 2) % 4))
    const all = noise.map((one) => one.map((x, i) => x.map((value, j) => value + own[i]![j]!)))
    const { updates } = await stepTogether(workers, all)
    const others = await stepTogether(twins, all)
    if (String(workers[0]!.stats.ranks) !== String(twins[0]!.stats.ranks)) {
      switches++
      for (const twin of twins) twin.setRank(workers[0]!.stats.ranks)
    }
    for (const [w, worker] of workers.entries()) {
      const residuals = await residualsOf(twins[w]!)
      for (const [i, residual] of (await residualsOf(worker)).entries()) {
        sameFloats(residual, residuals[i]!, `residual/${i} of ${w}, step ${t}`)
        sameFloats(updates[w]![i]!, others.updates[w]![i]!, `update ${i} of ${w}, step ${t}`)
      }
    }
    for (const [i, sum] of given.entries()) {
      for (let j = 0; j < sum.length; j++) {
        sum[j] = sum[j]! + (all[0]![i]![j]! + all[1]![i]![j]!) / 2
        out[i]![j] = out[i]![j]! + updates[0]![i]![j]!
      }
    }
  }
  assert.ok(switches >= 3, `${switches}`)
  const left = await Promise.all(workers.map(residualsOf))
  for (const [i, sum] of given.entries()) {
    const got = out[i]!.map((x, j) => x + (left[0]![i]![j]! + left[1]![i]![j]!) / 2)
    within(got, sum, () => 1000 * 16 * UNIT, `parameter ${i}`) // sixteen steps of numbers below 4
  }
})

test('a joiner and who was restored decide as all do; an aborted step decides nothing', async () => {
  const options: Options = { ...ALL, method: byEnergy({ fraction: 0.99, most: 8, every: 3 }) }
  const workers = await fleet(2, { fraction: 0.99, most: 8, every: 3 })
  for (let t = 0; t < 12; t++) {
    if (t === 2) {
      for (const worker of workers) await worker.compress(gradients(2))
      for (const worker of workers) worker.abort()
      assert.equal(workers[0]!.stats.ranks, [4, 0, 4])
      continue
    }
    if (t === 4) {
      const joiner = await createCompressor(SHAPES, { ...options, sender: 2 })
      joiner.join(await workers[0]!.save({ residual: false }))
      workers.push(joiner)
    }
    if (t === 7) {
      const restore = await workers[1]!.save()
      workers[1] = await createCompressor(SHAPES, { ...options, sender: 1, restore })
    }
    await stepTogether(
      workers,
      workers.map(() => gradients(2)),
    )
    for (const { stats } of workers) {
      assert.equal(stats.ranks, t < 5 ? [4, 0, 4] : [2, 0, 2], `step ${t}`)
    }
  }
})

test('higher ranks may move the arrays in memory: they are to be had again', async () => {
  const shapes = [[3000, 40]]
  const method = byEnergy({ fraction: 0.99, most: 32, every: 1 })
  const worker = await createCompressor(shapes, { ...ALL, method, rank: 1, resident: true })
  const alone = await createCompressor(shapes, { ...ALL, method, rank: 1 })
  let moved = 0
  for (let t = 0; t < 7; t++) {
    const gradient = gaussian(120_000, t)
    const [own] = worker.gradients
    own!.set(gradient)
    const { updates } = await stepTogether([alone], [[gradient]])
    let frame: Uint8Array | null = await worker.compress(worker.gradients)
    while (frame) frame = await worker.receive(frame)
    const into = new Float32Array(120_000)
    await worker.decompress([into])
    sameFloats(into, updates[0]![0]!, `step ${t}`)
    if (worker.gradients[0] !== own) moved++
  }
  assert.equal(worker.stats.ranks, [32])
  assert.ok(moved > 0)
})

test('a backend that has to be waited for decides the same', async () => {
  const options = { fraction: 0.999, most: 8, every: 2 }
  const backend = slowBackend()
  const slow = await createCompressor(SHAPES, { ...ALL, method: byEnergy(options), backend })
  const [worker] = await fleet(1, options)
  for (let t = 0; t < 4; t++) {
    await stepTogether([worker!], [gradients(3)])
    await stepTogether([slow], [gradients(3)])
    assert.equal(slow.stats.ranks, worker!.stats.ranks)
  }
  assert.equal(slow.stats.ranks, [3, 0, 3])
})

test.run()

function fleet(count: number, options: EnergyOptions): Promise<Compressor[]> {
  const make = (_: unknown, sender: number) =>
    createCompressor(SHAPES, { ...ALL, method: byEnergy(options), sender })
  return Promise.all(Array.from({ length: count }, make))
}

/** Gradients of this rank with all singular values 1; each rank adds a direction of its own. */
function gradients(rank: number, scale = 1): Float32Array[] {
  return SHAPES.map(([rows, cols = 1], i) => ofRank(rows!, cols, Math.min(rank, cols), scale, i))
}
