// Frozen parameters and missing gradients, with every method: what is frozen does not travel and
// changes nothing for the others; a null gradient counts as zeros.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { dad, type Factored, factored, rankDad } from '../../src/factored.ts'
import { inspect, type Wire } from '../../src/frames.ts'
import {
  aggregate,
  type Compressor,
  createCompressor,
  createSgd,
  mergeCheckpoints,
  type Options,
  type ParameterSpec,
  plan,
  type Rank,
} from '../../src/index.ts'
import { accordion, byEnergy } from '../../src/methods.ts'
import { explicit, pairOf } from '../algorithms/factored/factors.ts'
import { sameBytes, sameFloats, within } from '../support/close.ts'
import { createFleet, residualsOf, stepTogether } from '../support/fleet.ts'
import { LOCAL, METHODS, type Name } from '../support/methods.ts'
import { norm } from '../support/norms.ts'
import { gradientsOf } from '../support/numbers.ts'
import { readState, writeState } from '../support/safetensors.ts'

const SHAPES = [[24, 18], [7], [5, 4, 6], [40, 3], [30, 20]]
/** Those that are frozen: a matrix, and a raw parameter. */
const FROZEN = [1, 4]
const isFrozen = (i: number) => FROZEN.includes(i)
const KEPT = SHAPES.flatMap((_, i) => (isFrozen(i) ? [] : [i]))
const WEIGHTS = [1, 2]
const CLOSE = 2e-6

const test = suite('frozen')

for (const name of Object.keys(METHODS) as Name[]) {
  test(`${name}: frozen by spec, the others travel as if these were not there`, async () => {
    for (const wire of ['f32', 'int8'] as const) {
      const frozen = SHAPES.map((shape, i) =>
        isFrozen(i) ? { shape, rank: 'frozen' as const } : shape,
      )
      const fleet = await fleetOf(name, frozen, wire)
      const planned = plan(frozen, optionsOf(name, wire))
      let sent = 0
      for (let step = 0; step < 2; step++) {
        const { frames, updates } = await stepTogether(fleet, gradientsFor(step), WEIGHTS)
        for (const [frame] of frames) {
          sent += frame!.length / 2
          for (const i of FROZEN) assert.is(inspect(frame!).ranks[i], 0xffff)
        }
        for (const i of FROZEN) assert.ok(updates[0]![i]!.every((x) => x === 0))
        assert.ok(KEPT.some((i) => updates[0]![i]!.some((x) => x !== 0)))
      }
      assert.is(sent, Math.floor(planned.bytes))
      const without = plan(
        KEPT.map((i) => SHAPES[i]!),
        optionsOf(name, wire),
      )
      assert.is(planned.floats, without.floats)
      assert.is(planned.denseFloats, without.denseFloats)
      assert.is(planned.rounds, without.rounds)
      for (const worker of fleet) {
        const residuals = await residualsOf(worker)
        for (const i of FROZEN) assert.ok(residuals[i]!.every((x) => x === 0))
      }
    }
  })

  test(`${name}: freezing drops the residual, thawing begins anew, nothing else is lost`, async () => {
    const fleet = await fleetOf(name, SHAPES)
    const first = [...fleet[0]!.stats.ranks]
    const schedule: readonly (Rank[] | null)[] = [
      null,
      first.map((rank, i) => (isFrozen(i) ? 'frozen' : rank)),
      null,
      first,
      null,
    ]
    for (const [step, ranks] of schedule.entries()) {
      if (ranks) for (const worker of fleet) worker.setRank(ranks)
      const before = await Promise.all(fleet.map(residualsOf))
      const gone = step === 1 || step === 2
      if (step > 0 && step <= 3) {
        for (const i of FROZEN)
          assert.ok(
            before[0]![i]!.every((x) => x === 0),
            `step ${step}`,
          )
      }
      const { stats } = fleet[0]!
      assert.equal(
        FROZEN.map((i) => stats.ranks[i]),
        FROZEN.map((i) => (gone ? 'frozen' : first[i])),
      )
      const gradients = gradientsFor(step)
      const given = gradients.map((of) => of.map((g, i) => (gone && isFrozen(i) ? null : g)))
      const { updates } = await together(fleet, given)
      for (const i of FROZEN)
        assert.is(
          updates[0]![i]!.some((x) => x !== 0),
          !gone,
        )
      if (!LOCAL.includes(name)) continue
      const after = await Promise.all(fleet.map(residualsOf))
      for (const [i, update] of updates[0]!.entries()) {
        if (gone && isFrozen(i)) continue
        balanced(update, before, after, gradients, i, `${name}, step ${step}, parameter ${i}`)
      }
    }
  })

  test(`${name}: all frozen, a step still goes`, async () => {
    const fleet = await fleetOf(name, SHAPES)
    for (const worker of fleet) worker.setRank('frozen')
    for (let step = 0; step < 2; step++) {
      const { updates, outcomes } = await together(fleet, [
        SHAPES.map(() => null),
        SHAPES.map(() => null),
      ])
      assert.ok(updates[0]!.every((update) => update.every((x) => x === 0)))
      assert.equal(
        outcomes.map(({ counted }) => counted),
        [true, true],
      )
    }
    assert.is(fleet[0]!.updateNorm, 0)
    const planned = plan(
      SHAPES.map((shape) => ({ shape, rank: 'frozen' as const })),
      optionsOf(name, 'f32'),
    )
    assert.equal([planned.floats, planned.denseFloats, planned.ratio], [0, 0, 1])
  })

  test(`${name}: a state carries what is frozen`, async () => {
    const [worker, other] = await fleetOf(name, SHAPES)
    for (const one of [worker!, other!]) one.setRank(ranksWith(one, FROZEN))
    await together([worker!, other!], gradientsFor(0))
    const saved = await worker!.save()
    const restored = await createCompressor(SHAPES, { ...optionsOf(name, 'f32'), restore: saved })
    assert.equal(restored.stats.ranks, worker!.stats.ranks)
    const joined = await createCompressor(SHAPES, optionsOf(name, 'f32'))
    joined.join(saved)
    assert.equal(joined.stats.ranks, worker!.stats.ranks)
    const [g] = gradientsFor(1)
    sameBytes(await restored.compress(g!), await worker!.compress(g!), 'the next frame')
    const merged = mergeCheckpoints([await joined.save(), saved])
    const again = await createCompressor(SHAPES, { ...optionsOf(name, 'f32'), restore: merged })
    assert.equal(again.stats.ranks, worker!.stats.ranks)
  })

  test(`${name}: a null gradient counts as zeros`, async () => {
    const [given, zeros] = await Promise.all([0, 0].map(() => fleetOf(name, SHAPES)))
    for (let step = 0; step < 3; step++) {
      const missing = (w: number, i: number) => (w + i + step) % 3 === 0
      const all = gradientsFor(step)
      const absent = all.map((of, w) => of.map((g, i) => (missing(w, i) ? null : g)))
      const zero = all.map((of, w) => of.map((g, i) => (missing(w, i) ? g.map(() => 0) : g)))
      const [got, want] = [await together(given!, absent), await together(zeros!, zero)]
      for (const [i, update] of want.updates[0]!.entries()) {
        sameFloats(got.updates[0]![i]!, update, `step ${step}, update ${i}`)
      }
    }
    const residuals = await Promise.all([...given!, ...zeros!].map(residualsOf))
    for (const [i, residual] of residuals[2]!.entries()) {
      sameFloats(residuals[0]![i]!, residual, `residual ${i}`)
    }
  })

  test(`${name}: a null in "into" leaves that update unwritten`, async () => {
    const [one, other] = await Promise.all([0, 0].map(() => fleetOf(name, SHAPES)))
    const { updates } = await together(one!, gradientsFor(1))
    const frames = await Promise.all(
      other!.map((w, k) => w.compress(gradientsFor(1)[k]!, { weight: WEIGHTS[k]! })),
    )
    let next: (Uint8Array | null)[] = frames
    while (next[0]) {
      const mean = aggregate(next as Uint8Array[])
      next = await Promise.all(other!.map((worker) => worker.receive(mean)))
    }
    const into = SHAPES.map((_, i) =>
      i % 2 === 0 ? null : new Float32Array(updates[0]![i]!.length),
    )
    await other![0]!.decompress(into)
    await other![1]!.decompress(SHAPES.map(() => null))
    for (const [i, array] of into.entries()) if (array) sameFloats(array, updates[0]![i]!, `${i}`)
    for (const [w, worker] of other!.entries()) {
      const [got, want] = [await residualsOf(worker), await residualsOf(one![w]!)]
      for (const [i, residual] of want.entries()) sameFloats(got[i]!, residual, `residual ${i}`)
    }
  })
}

for (const [name, options] of [
  ['factored', { method: factored(), rank: 2 }],
  ['factored, local', { method: factored(), rank: 2, errorFeedback: 'local' }],
  ['dad', { method: dad({ samples: 9 }) }],
  ['rankDad', { method: rankDad(), rank: 2 }],
] as [string, Options][]) {
  test(`${name}: factored gradients beside null ones, and of frozen parameters`, async () => {
    const shapes = [[30, 40], [20], [20, 30], [6, 4]]
    const given: readonly (Factored | Float32Array | null)[] = [
      pairOf(30, 40, 5, 1),
      null,
      null,
      pairOf(6, 4, 2, 2), // not worth compressing: multiplied out
    ]
    const whole = given.map((one, i) => {
      if (one === null || one instanceof Float32Array) {
        return new Float32Array(shapes[i]!.reduce((a, b) => a * b, 1))
      }
      const [rows, cols] = shapes[i]! as [number, number]
      return Float32Array.from(explicit({ ...one, rows, cols }))
    })
    const [worker, twin, frozen] = await Promise.all(
      [0, 1, 2].map(() => createCompressor(shapes, options)),
    )
    for (let step = 0; step < 2; step++) {
      const { updates } = await stepTogether([worker!], [given], [1], { shapes })
      const want = await stepTogether([twin!], [whole], [1], { shapes })
      for (const [i, update] of want.updates[0]!.entries()) {
        within(updates[0]![i]!, update, () => 1e-4, `step ${step}, update ${i}`)
      }
    }
    const { ranks } = frozen!.stats
    frozen!.setRank(['frozen', ranks[1]!, ranks[2]!, 'frozen'])
    const { updates } = await stepTogether([frozen!], [given], [1], { shapes })
    for (const update of updates[0]!) assert.ok(update.every((x) => x === 0))
    frozen!.setRank(ranks)
    const { updates: thawed } = await stepTogether([frozen!], [given], [1], { shapes })
    assert.ok(thawed[0]![0]!.some((x) => x !== 0) && thawed[0]![3]!.some((x) => x !== 0))
  })
}

test('a null gradient without "into" is refused in step, by name, unless it is frozen', async () => {
  const shapes: ParameterSpec[] = [[4, 4], { shape: [4, 4], name: 'head.weight' }]
  const worker = await createCompressor(shapes)
  const alone = (frame: Uint8Array) => aggregate([frame])
  const given = [new Float32Array(16).fill(1), null]
  await rejected(worker.step(given, alone), TypeError, /"gradients\[1\] 'head\.weight'".*"into"/)
  assert.is(worker.stats.step, 0)
  await worker.step(given, alone, { into: [new Float32Array(16), new Float32Array(16)] })
  await worker.step(given, alone, { into: [null, null] })
  worker.setRank([4, 'frozen'])
  await worker.step(given, alone)
  assert.is(worker.stats.counted, 3)
})

test('before startCompressingAfter, too', async () => {
  for (const method of ['full steps', 'halfSteps', 'topK'] as const) {
    const options = { ...optionsOf(method, 'f32'), startCompressingAfter: 2 }
    const worker = await createCompressor(SHAPES, options)
    worker.setRank(ranksWith(worker, FROZEN))
    const kept = KEPT.reduce((sum, i) => sum + SHAPES[i]!.reduce((a, b) => a * b, 1), 0)
    for (let step = 0; step < 3; step++) {
      const { frames, updates } = await stepTogether([worker], [gradientsOf(SHAPES, step)])
      if (step < 2) assert.is(inspect(frames[0]![0]!).slice.total, kept)
      for (const i of FROZEN) assert.ok(updates[0]![i]!.every((x) => x === 0))
    }
  }
})

test('a residual that a state has of a frozen parameter is dropped, and so is an adopted one', async () => {
  const options: Options = { rank: 2, minCompressionRate: 0 }
  const [worker, leaver] = await createFleet(SHAPES, 2, options)
  await together([worker!, leaver!], gradientsFor(0))
  const state = await leaver!.save()
  worker!.setRank(ranksWith(worker!, FROZEN))
  await worker!.adopt(state)
  for (const i of FROZEN) assert.ok((await residualsOf(worker!))[i]!.every((x) => x === 0))
  assert.ok((await residualsOf(worker!))[0]!.some((x) => x !== 0))
  leaver!.join(await worker!.save({ residual: false }))
  for (const i of FROZEN) assert.ok((await residualsOf(leaver!))[i]!.every((x) => x === 0))
})

test('a residual in a file, of a parameter that is frozen there, is dropped', async () => {
  const options: Options = { rank: 2, minCompressionRate: 0 }
  const [worker] = await createFleet(SHAPES, 1, options)
  await stepTogether([worker!], [gradientsOf(SHAPES, 1)])
  const { metadata, tensors } = readState(await worker!.save())
  const ranks = JSON.stringify(worker!.stats.ranks.map((rank, i) => (isFrozen(i) ? 65535 : rank)))
  const restore = writeState(Object.fromEntries(tensors), { ...metadata, ranks })
  const bytes = restore.slice()
  const restored = await createCompressor(SHAPES, { ...options, restore })
  sameBytes(restore, bytes, 'the file')
  for (const [i, residual] of (await residualsOf(restored)).entries()) {
    if (isFrozen(i)) assert.ok(residual.every((x) => x === 0))
    else sameFloats(residual, tensors.get(`residual/${i}`)!.data, `residual ${i}`)
  }
})

test('byEnergy decides about the others while one is frozen', async () => {
  const shapes = [[30, 40], [20, 20], [9]]
  const options: Options = { method: byEnergy({ most: 5, every: 2 }), rank: 2 }
  const worker = await createCompressor(shapes, options)
  worker.setRank(['frozen', 2, 0])
  for (let step = 0; step < 4; step++) await stepTogether([worker], [gradientsOf(shapes, step)])
  assert.equal(worker.stats.ranks, ['frozen', 4, 0]) // 5 would not pay
})

test('one worker that freezes is refused by the others', async () => {
  const [a, b] = await createFleet(
    [
      [8, 8],
      [8, 8],
    ],
    2,
    { rank: 1 },
  )
  b!.setRank([1, 'frozen'])
  const g = [new Float32Array(64).fill(1), new Float32Array(64).fill(1)]
  const frames = [await a!.compress(g), await b!.compress(g)]
  assert.throws(() => aggregate(frames), /rank of parameter 1: expected 1, got frozen/)
})

test('setRank: what it takes', async () => {
  const worker = await createCompressor([[30, 40], { shape: [30, 40], rank: 'frozen', name: 'x' }])
  assert.equal(worker.stats.ranks, [4, 'frozen'])
  worker.setRank(2) // those without a rank of their own
  assert.equal(worker.stats.ranks, [2, 'frozen'])
  worker.setRank([3, 5])
  assert.equal(worker.stats.ranks, [3, 5])
  worker.setRank('frozen')
  assert.equal(worker.stats.ranks, ['frozen', 'frozen'])
  for (const [rank, kind, message] of [
    ['Frozen', RangeError, /"rank": expected a number, 'frozen' or 2/],
    [[1], RangeError, /"rank": .*of 1/],
    [[1, 65535], RangeError, /"rank\[1\] 'x'": .*65534/],
    [[1, 'raw'], TypeError, /"rank\[1\] 'x'"/],
    [65535, RangeError, /"rank": .*65534/],
    [null, RangeError, /"rank"/],
  ] as const) {
    assert.throws(
      () => worker.setRank(rank as never),
      (error: Error) => error instanceof kind && message.test(error.message),
      String(rank),
    )
  }
  assert.equal(worker.stats.ranks, ['frozen', 'frozen'])
})

test('setRank: methods that decide about ranks let callers decide about freezing alone', async () => {
  const worker = await createCompressor([[30, 40], [30, 40], [9]], {
    method: accordion({ low: 1, high: 3, window: 4 }),
  })
  worker.setRank([3, 'frozen', 0])
  assert.equal(worker.stats.ranks, [3, 'frozen', 0])
  assert.throws(
    () => worker.setRank([2, 'frozen', 0]),
    /"rank\[0\]": expected 3 or 'frozen' with accordion/,
  )
  assert.throws(
    () => worker.setRank([3, 1, 0]),
    /"rank\[1\]": expected 3 or 'frozen' with accordion/,
  )
  assert.throws(() => worker.setRank(2), /no use/)
  worker.setRank([3, 3, 0])
  assert.equal(worker.stats.ranks, [3, 3, 0])
})

for (const scope of ['layer', 'global'] as const) {
  test(`accordion (${scope}) decides about the others while one is frozen`, async () => {
    const options: Options = { method: accordion({ low: 1, high: 3, window: 2, scope }) }
    const shapes = [
      [30, 40],
      [20, 20],
      [30, 30],
    ]
    const fleet = await createFleet(shapes, 2, options)
    const g = gradientsOf(shapes, 1)
    for (let step = 0; step < 9; step++) {
      if (step === 3) for (const worker of fleet) worker.setRank(ranksWith(worker, [0]))
      if (step === 7) {
        for (const worker of fleet) worker.setRank([3, ...worker.stats.ranks.slice(1)])
      }
      const { frames } = await stepTogether(fleet, [g, g])
      const { scalars } = inspect(frames[1]![0]!)
      const matrices = step >= 3 && step < 7 ? 2 : 3
      const norms = scope === 'layer' ? matrices : 1
      assert.is(scalars.length, step % 2 === 1 ? norms + 1 : 0, `step ${step}`)
      if (step === 5) assert.equal(fleet[0]!.stats.ranks, ['frozen', 1, 1])
    }
    assert.equal(fleet[0]!.stats.ranks.slice(1), [1, 1])
    const state = await fleet[0]!.save()
    fleet[1]!.join(state) // its notes still fit
    assert.equal(fleet[1]!.stats.ranks, fleet[0]!.stats.ranks)
  })
}

test('sgd leaves a frozen parameter and its momentum alone', async () => {
  const shapes: ParameterSpec[] = [[6, 5], [4]]
  const alone = (frame: Uint8Array) => aggregate([frame])
  for (const momentum of [0, 0.9]) {
    const compressor = await createCompressor(shapes)
    const sgd = await createSgd(compressor, { learningRate: 0.1, momentum, weightDecay: 0.1 })
    const x = [new Float32Array(30).fill(1), new Float32Array(4).fill(1)]
    const g = () => [new Float32Array(30).fill(1), new Float32Array(4).fill(1)]
    await sgd.step(x, g(), alone)
    compressor.setRank([0, 'frozen'])
    const frozen = x[1]!.slice()
    await sgd.step(x, g(), alone)
    await sgd.step([x[0]!, null], [g()[0]!, null], alone)
    sameFloats(x[1]!, frozen, 'x')
    assert.ok(x[0]![0]! < frozen[0]!)
    await rejected(sgd.step([null, null], g(), alone), TypeError, /"parameters\[0\]"/)
    await rejected(sgd.step(x, [null, null], alone), TypeError, /"gradients\[0\]"/)
    assert.throws(() => sgd.apply(x, [null, null]), /"update\[0\]"/)
    compressor.setRank('frozen')
    await sgd.step([null, null], [null, null], alone)
    const state = await sgd.save()
    compressor.setRank([0, 0])
    await sgd.step(x, g(), alone)
    await createSgd(compressor, { learningRate: 0.1, momentum, restore: state })
  }
})

test('sgd: all frozen from the start, then not', async () => {
  const compressor = await createCompressor([{ shape: [4], rank: 'frozen' }])
  const sgd = await createSgd(compressor, { learningRate: 1 })
  const alone = (frame: Uint8Array) => aggregate([frame])
  await sgd.step([null], [null], alone)
  compressor.setRank([0])
  const x = [new Float32Array(4)]
  await sgd.step(x, [new Float32Array(4).fill(1)], alone)
  sameFloats(x[0]!, new Float32Array(4).fill(-2), 'x') // the first step's d + m is 2d
})

test.run()

/** The ranks in force, but for some that become frozen. */
function ranksWith({ stats }: Compressor, frozen: readonly number[]): Rank[] {
  return stats.ranks.map((rank, i) => (frozen.includes(i) ? 'frozen' : rank))
}

function gradientsFor(step: number): Float32Array[][] {
  return WEIGHTS.map((_, w) => gradientsOf(SHAPES, 10 * step + w))
}

function optionsOf(name: Name, wire: Wire): Options {
  const all: Options = { ...METHODS[name], wire }
  const gate = !all.method || all.method.supportedOptions.includes('minCompressionRate')
  // dAD's and rank-dAD's factors would take more than the product at any rate below 1.
  return gate && !['dad', 'rankDad'].includes(name) ? { ...all, minCompressionRate: 0 } : all
}

function fleetOf(name: Name, shapes: readonly ParameterSpec[], wire: Wire = 'f32') {
  const method = name === 'factored' ? { method: factored() } : {}
  return createFleet(shapes, 2, { ...optionsOf(name, wire), ...method })
}

/** One step whose updates go to arrays of their own. */
async function together(
  fleet: readonly Compressor[],
  gradients: readonly (Float32Array | null)[][],
) {
  return stepTogether(fleet, gradients, WEIGHTS, { shapes: SHAPES })
}

/** The update must be the weighted mean of what has left the workers' M. */
function balanced(
  update: Float32Array,
  before: readonly Float32Array[][],
  after: readonly Float32Array[][],
  gradients: readonly Float32Array[][],
  i: number,
  what: string,
): void {
  const m = gradients.map((of, w) => of[i]!.map((g, j) => g + before[w]![i]![j]!))
  const want = update.map((_, j) =>
    m.reduce((sum, one, w) => sum + (WEIGHTS[w]! / 3) * (one[j]! - after[w]![i]![j]!), 0),
  )
  const size = Math.max(...m.map(norm))
  within(update, want, () => CLOSE * size, what)
}

async function rejected(
  call: Promise<unknown>,
  kind: new (...args: never[]) => Error,
  message: RegExp,
): Promise<void> {
  const error: unknown = await call.then(
    () => null,
    (reason: unknown) => reason,
  )
  assert.instance(error, kind)
  assert.match((error as Error).message, message)
}
