// lowrank/baselines: rule 1 of the design on random fleets, and the entries that each method may
// send.
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  bestRank,
  randomBlock,
  randomK,
  signNorm,
  topK,
  uncompressed,
} from '../../../src/baselines.ts'
import { fromPayload, payload, type Wire } from '../../../src/frames.ts'
import { aggregate, createCompressor, type Options, plan } from '../../../src/index.ts'
import { sameBytes, sameFloats, within } from '../../support/close.ts'
import { errorOf } from '../../support/errors.ts'
import { createFleet, residualsOf, stepTogether } from '../../support/fleet.ts'
import { norm } from '../../support/norms.ts'
import { gradientsOf, uniform } from '../../support/numbers.ts'
import { writeState } from '../../support/safetensors.ts'
import { BASELINES, type Baseline, tailOf } from './expected.ts'
import { lastOfEqual, undecoded } from './mutants.ts'
import { SHAPES, scenario, simulate } from './simulate.ts'

// For long hunts: LOWRANK_RUNS=20000 LOWRANK_SEED=7 node --import tsx
// test/algorithms/baselines/baselines.test.ts
const numRuns = Number(process.env.LOWRANK_RUNS ?? 150)
const seed = Number(process.env.LOWRANK_SEED ?? 1905)

const WIRES: readonly Wire[] = ['f32', 'f16', 'bf16', 'int8']

const test = suite('baselines')

for (const baseline of BASELINES) {
  const { name, options } = baseline

  test(`${name}: nothing is lost, and the update is the mean of the parts that left M`, () =>
    playAll(baseline))

  test(`${name}: plan tells the bytes that are really sent and received`, async () => {
    for (const workers of [1, 3]) {
      for (const wire of WIRES) {
        const own = { ...options, wire }
        const fleet = await fleetOf(workers, own)
        const gradients = fleet.map((_, i) => gradientsOf(SHAPES, i))
        const { frames, means } = await stepTogether(fleet, gradients)
        const planned = plan(SHAPES, own)
        assert.is(planned.rounds, frames.length)
        for (const frame of frames[0]!) assert.is(frame.length, planned.bytes, wire)
        assert.is(means[0]!.length, planned.received(workers).bytes, `${wire}, ${workers} workers`)
      }
    }
  })

  test(`${name}: works where nothing can be awaited`, async () => {
    const [waiting] = await fleetOf(1, options)
    const [worker] = await fleetOf(1, options)
    for (let step = 0; step < 3; step++) {
      const gradients = gradientsOf(SHAPES, step)
      const { updates } = await stepTogether([waiting!], [gradients])
      const into = gradients.map((g) => new Float32Array(g.length))
      assert.is(worker!.receiveSync(aggregate([worker!.compressSync(gradients)])), null)
      worker!.decompressSync(into)
      for (const [i, x] of into.entries()) sameFloats(x, updates[0]![i]!, `parameter ${i}`)
    }
  })

  test(`${name}: scales and accumulates, and a mean of nobody is zero`, async () => {
    const fleet = await fleetOf(2, options)
    const gradients = gradientsOf(SHAPES, 1)
    const [all] = (await stepTogether(fleet, [gradients, null])).updates
    const [alone] = await fleetOf(1, options)
    const into = gradients.map((g) => new Float32Array(g.length).fill(1))
    alone!.receiveSync(aggregate([alone!.compressSync(gradients)]))
    alone!.decompressSync(into, { scale: -0.5, accumulate: true })
    for (const [i, x] of into.entries()) {
      for (const [j, value] of x.entries()) {
        const want = 1 - 0.5 * all![i]![j]!
        assert.ok(Math.abs(value - want) <= 1e-6 * (1 + Math.abs(want)))
      }
    }
    const before = await residualsOf(alone!)
    alone!.receiveSync(aggregate([alone!.compressSync(null)]))
    const zeros = gradients.map((g) => new Float32Array(g.length).fill(1))
    assert.is(alone!.updateNorm, 0)
    assert.is(alone!.decompressSync(zeros).weight, 0)
    for (const x of zeros) assert.ok(x.every((value) => value === 0))
    for (const [i, e] of (await residualsOf(alone!)).entries()) sameFloats(e, before[i]!, 'e')
  })

  test(`${name}: goes on from a saved state as if nothing had been`, async () => {
    const [worker] = await fleetOf(1, options)
    for (let step = 0; step < 2; step++) await stepTogether([worker!], [gradientsOf(SHAPES, step)])
    const restore = await worker!.save()
    const again = await createCompressor(SHAPES, { ...options, restore })
    const next = gradientsOf(SHAPES, 2)
    sameBytes(again.compressSync(next), worker!.compressSync(next), 'the next frame')
  })

  test(`${name}: without feedback nothing is left; from the mean there is none`, async () => {
    const [worker] = await fleetOf(1, { ...options, errorFeedback: 'none', wire: 'int8' })
    await stepTogether([worker!], [gradientsOf(SHAPES, 1)])
    for (const e of await residualsOf(worker!)) assert.ok(e.every((x) => x === 0))
    const error = await errorOf(() => plan(SHAPES, { ...options, errorFeedback: 'aggregated' }))
    assert.instance(error, RangeError)
    assert.match(error.message, `with ${name}`)
  })
}

for (const [what, name, plant, message] of [
  ['a residual of what was not yet decoded', 'topK', undecoded, /the update/],
  ['a residual of what was not yet decoded', 'randomK', undecoded, /the update/],
  ['ties that go to the later entry', 'topK', lastOfEqual, /entry \d+, the \d+th, (goes|stays)/],
] as const) {
  test(`${what} is found: ${name}`, async () => {
    const one = BASELINES.find((baseline) => baseline.name === name)!
    const method = plant(one.options.method!)
    const error = await errorOf(() => playAll({ ...one, options: { ...one.options, method } }))
    assert.match(error.message, message)
  })
}

test('the best rank is found whatever the singular values', async () => {
  const rank = 3
  for (const [what, rows, cols, of] of [
    ['falling, wide', 60, 300, (i: number, j: number) => decaying(i, j, 60)],
    ['falling, tall', 300, 60, (i: number, j: number) => decaying(i, j, 60)],
    ['of noise', 50, 160, null],
    ['all equal', 40, 64, (i: number, j: number) => (i === j ? 2 : 0)],
    ['one above many equal', 64, 40, (i: number, j: number) => (i === j ? (i === 7 ? 3 : 2) : 0)],
    ['one', 30, 50, (i: number, j: number) => (1 + i) * Math.cos(j)],
    ['one column', 30, 50, (i: number, j: number) => (j === 11 ? i - 9 : 0)],
    ['none', 30, 50, () => 0],
  ] as const) {
    for (const scale of [1, 1e-30, 1e25]) {
      const noise = uniform(rows * cols, 3)
      const m = noise.map((x, at) => {
        return scale * (of ? of(Math.floor(at / cols), at % cols) : x)
      })
      const worker = await createCompressor([[rows, cols]], { method: bestRank(), rank })
      const { updates } = await stepTogether([worker], [[m]])
      const [left] = await residualsOf(worker)
      const tail = tailOf(m, rows, cols, rank)
      const most = tail * (1 + 1e-6) + 1e-6 * norm(m)
      assert.ok(norm(left!) <= most, `${what}, × ${scale}: ${norm(left!)} is left of ${tail}`)
      const length = norm(updates[0]![0]!)
      assert.ok(Math.abs(worker.updateNorm! - length) <= 1e-5 * length, what)
    }
  }
})

test('best rank: ranks change between steps, and nothing is lost', async () => {
  const shapes = [[12, 10], [7], [9, 4]]
  const options = { method: bestRank(), rank: 1, minCompressionRate: 0 }
  const worker = await createCompressor(shapes, options)
  for (const [step, rank] of [1, 3, [0, 0, 2], 2].entries()) {
    worker.setRank(rank)
    const before = await residualsOf(worker)
    const gradients = gradientsOf(shapes, step)
    const { updates } = await stepTogether([worker], [gradients])
    for (const [i, left] of (await residualsOf(worker)).entries()) {
      const m = gradients[i]!.map((g, j) => g + before[i]![j]!)
      within(
        left.map((x, j) => x + updates[0]![i]![j]!),
        m,
        () => 1e-5,
        `step ${step}, ${i}`,
      )
      const own = typeof rank === 'number' ? (shapes[i]!.length > 1 ? rank : 0) : rank[i]!
      if (own === 0) assert.ok(left.every((x) => x === 0))
      else assert.ok(norm(left) <= 1e-5 + (1 + 1e-6) * tailOf(m, ...dims(shapes[i]!), own))
    }
  }
})

test('random K and random block go through engines that sum by themselves', async () => {
  for (const method of [randomK({ rank: 1 }), randomBlock({ rank: 1 })]) {
    const fleet = await fleetOf(3, { method })
    const gradients = fleet.map((_, i) => gradientsOf(SHAPES, i))
    const frames = await Promise.all(fleet.map((worker, i) => worker.compress(gradients[i]!)))
    const sum = frames.map(payload).reduce((a, b) => a.map((x, i) => x + b[i]!))
    const mean = fromPayload(sum, frames[0]!, 3)
    const update = gradients[0]!.map((g) => new Float32Array(g.length))
    const lefts: Float32Array[][] = []
    for (const worker of fleet) {
      await worker.receive(mean)
      assert.equal(await worker.decompress(update), {
        counted: true,
        senders: [],
        weight: 3,
        refused: [],
      })
      lefts.push(await residualsOf(worker))
    }
    for (const [i, x] of update.entries()) {
      const taken = x.map((_, j) =>
        lefts.reduce((s, e, w) => s + gradients[w]![i]![j]! - e[i]![j]!, 0),
      )
      within(
        x,
        taken.map((value) => value / 3),
        () => 1e-6,
        `parameter ${i}`,
      )
    }
  }
})

test('random choices are uniform, of the seed and the step, and the same everywhere', async () => {
  const length = 24
  const shapes = [[4, 6]]
  for (const [make, block] of [
    [randomK, false],
    [randomBlock, true],
  ] as const) {
    const chosen = async (seed: number, steps: number) => {
      const options = { method: make({ rank: 1 }), seed, errorFeedback: 'none' } as const
      const worker = await createCompressor(shapes, options)
      const sets: string[] = []
      const counts = new Float64Array(length)
      for (let step = 0; step < steps; step++) {
        const ones = [new Float32Array(length).fill(1)]
        const { updates } = await stepTogether([worker], [ones])
        const [update] = updates[0]!
        const indices = [...update!.keys()].filter((j) => update![j] === 1)
        assert.is(indices.length, 10)
        for (const j of indices) counts[j]! += 1
        if (block) {
          const starts = indices.filter((j) => !indices.includes((j + length - 1) % length))
          assert.is(starts.length, 1)
        }
        sets.push(indices.join())
      }
      return { sets, counts }
    }
    const { sets, counts } = await chosen(1, 2400)
    assert.equal((await chosen(1, 5)).sets, sets.slice(0, 5))
    assert.not.equal((await chosen(2, 5)).sets, sets.slice(0, 5))
    assert.ok(new Set(sets).size >= (block ? 24 : 2300))
    // 1000 each on the average; the deviation of a binomial is 24.2, and of 24 the largest is
    // within 5.
    for (const [j, count] of counts.entries())
      assert.ok(Math.abs(count - 1000) < 121, `${j}: ${count}`)
  }
})

test('choices of callers are checked before anything changes', async () => {
  const shapes = [[4, 6]]
  const good = [0, 1, 2, 3, 4, 5, 6, 7, 8, 23]
  let next: unknown = good
  const choose = () => next as number[]
  const gradients = gradientsOf(shapes, 1)
  const worker = await createCompressor(shapes, { method: randomK({ rank: 1, choose }) })
  const before = await worker.save()
  for (const bad of [null, [], good.slice(1), [...good.slice(1), 24], [...good.slice(1), 1]]) {
    next = bad
    const error = await errorOf(() => worker.compress(gradients))
    assert.instance(error, RangeError)
    assert.match(error.message, /^"choose": expected /)
    assert.equal(await worker.save(), before)
  }
  next = [...good].reverse()
  const { updates } = await stepTogether([worker], [gradients])
  const [update] = updates[0]!
  assert.equal(
    [...update!.keys()].filter((j) => update![j] !== 0),
    good,
  )

  let start: unknown = 20
  const method = randomBlock({ rank: 1, choose: () => start as number })
  const other = await createCompressor(shapes, { method })
  const [block] = (await stepTogether([other], [gradients])).updates[0]!
  const wrapped = [0, 1, 2, 3, 4, 5, 20, 21, 22, 23]
  assert.equal(
    [...block!.keys()].filter((j) => block![j] !== 0),
    wrapped,
  )
  for (const bad of [-1, 24, 0.5, undefined]) {
    start = bad
    assert.match((await errorOf(() => other.compress(gradients))).message, /^"choose": expected /)
  }
})

test('as published, the sign of a zero is lost', async () => {
  const gradients = [Float32Array.of(0, -3, 3, 0)]
  const left = async (method: Options['method']) => {
    const worker = await createCompressor([[4]], { method: method! })
    const { updates } = await stepTogether([worker], [gradients])
    assert.equal(updates[0]![0], Float32Array.of(1.5, -1.5, 1.5, 1.5))
    return (await residualsOf(worker))[0]
  }
  assert.equal(await left(signNorm()), Float32Array.of(-1.5, -1.5, 1.5, -1.5))
  assert.equal(await left(signNorm({ published: true })), Float32Array.of(0, -1.5, 1.5, 0))
})

test('options that are none are refused by name', async () => {
  const loose = (make: unknown) => make as (options: unknown) => Options['method']
  for (const [call, type, message] of [
    [() => loose(topK)({ ratio: 0 }), RangeError, /^"ratio": expected .*, got 0$/],
    [() => loose(topK)({ ratio: 1.5 }), RangeError, /^"ratio": /],
    [() => loose(topK)({ ratio: Number.NaN }), RangeError, /^"ratio": /],
    [() => loose(topK)({}), TypeError, /^"ratio": expected a number, got undefined$/],
    [() => loose(randomK)({ rank: 0 }), RangeError, /^"rank": /],
    [() => loose(randomBlock)({ rank: '2' }), TypeError, /^"rank": /],
    [() => loose(randomK)({ rank: 1, choose: 3 }), TypeError, /^"choose": expected a function/],
    [() => loose(randomBlock)({ rank: 1, choose: {} }), TypeError, /^"choose": /],
    [() => loose(signNorm)({ published: 1 }), TypeError, /^"published": /],
    [() => plan(SHAPES, { method: topK({ ratio: 1 }), rank: 2 }), TypeError, /^"rank": /],
    [() => plan(SHAPES, { method: topK({ ratio: 1 }), seed: 2 }), TypeError, /^"seed": /],
    [
      () => plan([{ shape: [3], compress: false }], { method: signNorm() }),
      RangeError,
      /^"shapes\[0\]\.compress": the method signNorm treats all parameters alike, got false$/,
    ],
    [
      () => plan([[4], { shape: [3, 3], rank: 1 }], { method: randomK({ rank: 1 }) }),
      RangeError,
      /^"shapes\[1\]\.rank": /,
    ],
  ] as const) {
    const error = await errorOf(call, String(message))
    assert.instance(error, type, error.message)
    assert.match(error.message, message)
  }
  assert.is(
    plan([{ shape: [3, 3], compress: false, rank: 1 }], { method: uncompressed() }).floats,
    9,
  )
})

test('workers whose methods or their options differ are refused', async () => {
  const frame = async (options: Options, sender: number) => {
    const worker = await createCompressor([[4, 6]], { ...options, sender })
    return worker.compressSync(gradientsOf([[4, 6]], sender))
  }
  const choose = () => 3
  const one = await frame({ method: randomBlock({ rank: 1 }) }, 0)
  aggregate([one, await frame({ method: randomBlock({ rank: 1, choose }) }, 1)])
  for (const method of [randomBlock({ rank: 2 }), randomK({ rank: 1 }), uncompressed()]) {
    const error = await errorOf(async () => aggregate([one, await frame({ method }, 1)]))
    assert.is(error.name, 'FrameError')
  }
})

test('a state with factors is refused where there are none', async () => {
  const state = writeState({ 'q/0': { shape: [1, 6], data: new Float32Array(6).fill(1) } })
  const options = { method: topK({ ratio: 1 }) }
  const error = await errorOf(() => createCompressor([[4, 6]], { ...options, restore: state }))
  assert.match(error.message, /^"checkpoint": ranks: expected 0 alone for the method topK, got 1/)
  const worker = await createCompressor([[4, 6]], options)
  assert.throws(() => worker.join(state), /^"checkpoint": ranks/)
  await stepTogether([worker], [gradientsOf([[4, 6]], 1)])
})

test.run()

function playAll(baseline: Baseline): Promise<void> {
  return fc.assert(
    fc.asyncProperty(scenario, (s) => simulate(baseline, s)),
    { seed, numRuns, includeErrorInReport: true },
  )
}

function dims(shape: readonly number[]): [number, number] {
  return [shape[0]!, shape[1]!]
}

function fleetOf(workers: number, options: Options) {
  return createFleet(SHAPES, workers, options)
}

/** An orthogonal mixture of singular values that fall by a quarter each. */
function decaying(i: number, j: number, n: number): number {
  let sum = 0
  for (let k = 0; k < Math.min(n, 20); k++) {
    sum += 0.75 ** k * Math.cos((k + 1) * (i + 0.5) * 0.1) * Math.sin((k + 1) * (j + 0.5) * 0.07)
  }
  return sum
}
