// `accordion`: when matrices switch ranks, the scalars that workers send for it, and their bytes.
// recorded/accordion.test.ts compares the rule with the authors' own decisions.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type Backend,
  type Compressor,
  createCompressor,
  mergeCheckpoints,
  type Options,
  plan,
  type Rank,
  UnsupportedError,
  wasm,
} from '../../src/index.ts'
import { type AccordionOptions, accordion, accordionDecision } from '../../src/methods.ts'
import { sameBytes, sameFloats, UNIT, within } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { createFleet, residualsOf, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { ALL } from '../support/norms.ts'
import { gradientsOf } from '../support/numbers.ts'
import { readState, writeState } from '../support/safetensors.ts'
import { slowBackend } from '../support/slow-backend.ts'

const SHAPES = [[5, 6], [7], [8, 4]]
const [LOW, HIGH] = [
  [1, 0, 1],
  [3, 0, 3],
]

const test = suite('accordion')

test('the published rule', () => {
  const decide = (previous: number | null, current: number, threshold?: number) =>
    accordionDecision(previous, current, { low: 1, high: 2, ...(threshold && { threshold }) })
  assert.is(decide(1, 0.6), 1)
  assert.is(decide(1, 0.5), 2, 'not less than a half')
  assert.is(decide(1, 1.4), 1)
  assert.is(decide(1, 1.5), 2, 'growth counts, too')
  assert.is(decide(0, 0), 2)
  assert.is(decide(-0, 1), 2)
  assert.is(decide(null, 1), 2)
  assert.is(decide(1, 1.4, 0.3), 2)
  for (const [previous, current] of [
    [Number.NaN, 1],
    [1, Number.NaN],
    [Number.POSITIVE_INFINITY, 1],
    [1, Number.POSITIVE_INFINITY],
    [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
  ]) {
    assert.is(decide(previous!, current!), 2, `${previous} → ${current}`)
  }
})

test('options that cannot be are refused by name', () => {
  const good = { low: 1, high: 3, window: 2 }
  for (const [bad, message] of [
    [{ high: 1 }, /^"high": expected an integer from 2/],
    [{ low: 3 }, /^"low": expected an integer from 1 to 2, got 3/],
    [{ low: 0 }, /^"low"/],
    [{ window: 0 }, /^"window"/],
    [{ window: '2' }, /^"window": expected a number/],
    [{ every: 0.5 }, /^"every"/],
    [{ threshold: 0 }, /^"threshold": expected a finite number > 0/],
    [{ threshold: Number.NaN }, /^"threshold"/],
    [{ scope: 'model' }, /^"scope": expected one of "layer", "global", got "model"/],
    [{ learningRate: 0.1 }, /^"learningRate": expected a function, got 0.1/],
  ] as const) {
    assert.throws(() => accordion({ ...good, ...bad } as AccordionOptions), message)
  }
  const method = accordion(good)
  assert.throws(() => plan(SHAPES, { method, rank: 2 }), /^"rank": the method accordion/)
})

test('every worker switches in the same step: absent, late, of any weight', async () => {
  const workers = await fleet(4, { low: 1, high: 3, window: 3 })
  const weights = [1, 0.25, 4, 2]
  const seen: string[] = []
  for (let t = 0; t < 15; t++) {
    // The first matrix's norm falls to a quarter in the fourth window, the second's in the second.
    const gradients = workers.map((_, w) => {
      const own = gradientsOf(SHAPES, 7 + w)
      const [a, b] = [t < 9 ? 1 : 0.25, t < 3 ? 1 : 0.25]
      return own.map((x, i) => x.map((value) => value * (i === 2 ? b : a)))
    })
    const present = gradients.map((own, w) => ((t + w) % 5 === 0 ? null : own))
    const { means } = await stepTogether(workers, present, weights)
    const sent = open(means.at(-1)!).scalars.length
    assert.is(sent, t % 3 === 2 ? 3 : 0, `step ${t}`)
    const ranks = workers.map(({ stats }) => String(stats.ranks))
    assert.is(new Set(ranks).size, 1, `step ${t}: ${ranks}`)
    seen.push(ranks[0]!)
  }
  const [high, first, second] = ['3,0,3', '1,0,3', '3,0,1']
  const want = [high, high, high, high, high, first, first, first, '1,0,1', '1,0,1', '1,0,1']
  assert.equal(seen, [...want, second, second, second, '1,0,1'])
})

test("the mean of all workers' norms decides, by weight, not the first one's", async () => {
  // The first worker's norm stays; the second's, with three times its weight, goes from 1 to 5.
  for (const [weights, want] of [
    [[1, 3], HIGH],
    [[1, 0.0625], LOW],
  ] as const) {
    const workers = await fleet(2, { low: 1, high: 3, window: 1 })
    for (const scale of [1, 5]) {
      const gradients = [2, 0.5 * scale].map((each) => unit(each))
      await stepTogether(workers, gradients, weights)
    }
    for (const { stats } of workers) assert.equal(stats.ranks, want)
    const sum = weights[0] + weights[1]
    const mean = (4 * weights[0] + 5 * weights[1]) / sum // √4 times the elements
    assert.ok(Math.abs((await norms(workers[0]!))[0]! - mean) <= 1e-6 * mean)
  }
})

test('what is summed is a window of raw gradients, without what is pending', async () => {
  const [worker] = await fleet(1, { low: 1, high: 2, window: 3 })
  const gradients = [1, 2, 3].map((seed) => gradientsOf(SHAPES, seed))
  for (const given of gradients) await stepTogether([worker!], [given])
  const want = [0, 2].map((i) =>
    Math.hypot(
      ...gradients[0]![i]!.map((x, j) => x + gradients[1]![i]![j]! + gradients[2]![i]![j]!),
    ),
  )
  within(await norms(worker!), want, (i) => 8 * UNIT * want[i]!, 'norms')
})

test('a worker counts with the part of a window that it was present for', async () => {
  const workers = await fleet(3, { low: 1, high: 2, window: 4 })
  // One worker is always there, one for the last step only, one never. The gradient stays the same.
  for (let t = 0; t < 4; t++) {
    const given = [unit(1), t === 3 ? unit(1) : null, null]
    await stepTogether(workers, given)
  }
  // The norm is 4 · 2 of one worker and 1 · 2 of the other, from 4 and 1 of 4 steps.
  assert.equal(await norms(workers[0]!), [8, 8])
  // A mean over the two of them would have been (8 + 2) ÷ 2, and half of that with the third.
})

test('a joiner in the middle of a window decides as all do, and so does who was restored', async () => {
  const method = accordion({ low: 1, high: 3, window: 4, every: 2 })
  const options: Options = { ...ALL, method }
  const workers = await fleet(2, { low: 1, high: 3, window: 4, every: 2 })
  for (let t = 0; t < 34; t++) {
    if (t === 6) {
      const joiner = await createCompressor(SHAPES, { ...options, sender: 2 })
      joiner.join(await workers[0]!.save({ residual: false }))
      workers.push(joiner)
    }
    if (t === 10) {
      const restore = await workers[1]!.save()
      workers[1] = await createCompressor(SHAPES, { ...options, sender: 1, restore })
    }
    if (t === 21) {
      const restore = mergeCheckpoints(await Promise.all(workers.map((one) => one.save())))
      const again = workers.map((_, sender) =>
        createCompressor(SHAPES, { ...options, sender, restore }),
      )
      workers.splice(0, 3, ...(await Promise.all(again)))
    }
    const scale = t < 24 ? 1 : 3
    await stepTogether(
      workers,
      workers.map(() => unit(scale)),
    )
    // Windows 0, 2 and 4 are compared; only those that begin with steps 0, 8, 16, …
    const want = t < 11 ? HIGH : t < 27 ? LOW : HIGH
    for (const [w, { stats }] of workers.entries())
      assert.equal(stats.ranks, want, `step ${t}: ${w}`)
    // A worker restored within a window still sends the norm of the whole window.
    if (t % 8 === 3) assert.equal(await norms(workers[0]!), [8 * scale, 8 * scale], `step ${t}`)
  }
})

test('a switch leaves the residual alone: all is as with setRank at the right time', async () => {
  const workers = await fleet(2, { low: 1, high: 3, window: 2 })
  const twins = await createFleet(SHAPES, workers.length, { ...ALL, rank: 3 })
  const given = SHAPES.map((shape) => new Float64Array(shape.reduce((a, b) => a * b, 1)))
  const out = given.map((x) => x.slice())
  let switches = 0
  for (let t = 0; t < 16; t++) {
    const scale = [1, 1, 4, 4, 3, 3, 1][t % 7]!
    const gradients = workers.map((_, w) => gradientsOf(SHAPES, 20 * t + w, scale))
    const { updates } = await stepTogether(workers, gradients)
    const others = await stepTogether(twins, gradients)
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
        sum[j] = sum[j]! + (gradients[0]![i]![j]! + gradients[1]![i]![j]!) / 2
        out[i]![j] = out[i]![j]! + updates[0]![i]![j]!
      }
    }
  }
  assert.ok(switches >= 4, `${switches}`)
  const left = await Promise.all(workers.map(residualsOf))
  for (const [i, sum] of given.entries()) {
    const got = out[i]!.map((x, j) => x + (left[0]![i]![j]! + left[1]![i]![j]!) / 2)
    within(got, sum, () => 1000 * 16 * UNIT, `parameter ${i}`) // sixteen steps of numbers below 4
  }
})

test('a step costs what plan says, on the average', async () => {
  for (const own of [
    {},
    { every: 3 },
    { scope: 'global' },
    { learningRate: () => 0.1 },
  ] satisfies Partial<AccordionOptions>[]) {
    const options = { low: 1, high: 3, window: 4, ...own }
    const workers = await fleet(2, options)
    const { bytes, floats, parameters, received, rounds } = plan(SHAPES, {
      ...ALL,
      method: accordion(options),
    })
    assert.equal(
      parameters.map(({ rank }) => rank),
      HIGH,
    )
    const cycle = 4 * (options.every ?? 1)
    const values: number[] = []
    for (let t = 0; t < cycle; t++) {
      // Gradients grow, so that ranks stay high.
      const gradients = workers.map((_, w) => gradientsOf(SHAPES, w, 2 ** t))
      const { frames } = await stepTogether(workers, gradients)
      assert.is(frames.length, rounds)
      values.push(frames.reduce((sum, [first]) => sum + open(first!).count, 0))
      assert.equal(workers[0]!.stats.ranks, HIGH)
    }
    assert.equal(new Set(values), new Set([floats]))
    assert.ok(Math.abs(workers[0]!.stats.bytesSent - cycle * bytes) < 1e-6, JSON.stringify(own))
    const { bytesReceived } = workers[0]!.stats
    assert.ok(Math.abs(bytesReceived - cycle * received(2).bytes) < 1e-6)
  }
  const none = plan([[7]], { method: accordion({ low: 1, high: 2, window: 1 }) })
  assert.equal(none.bytes, plan([[7]]).bytes)
})

test('a lower learning rate takes all to the high rank, whoever sees it, until ranks are decided', async () => {
  const rates = [1, 1]
  const workers = await Promise.all(
    rates.map((_, sender) =>
      createCompressor(SHAPES, {
        ...ALL,
        sender,
        method: accordion({ low: 1, high: 3, window: 4, learningRate: () => rates[sender]! }),
      }),
    ),
  )
  const seen: Rank[] = []
  for (let t = 0; t < 24; t++) {
    if (t === 9) rates[1] = 0.5 // absent until step 10; the other worker's rate stays for now
    if (t === 14) rates[1] = 0.7 // growth is nothing
    if (t === 15) rates[0] = 0.5 // in a deciding step: the falling rate wins
    const given = [unit(1), t === 9 ? null : unit(1)]
    const { means } = await stepTogether(workers, given)
    assert.is(open(means.at(-1)!).scalars[0]! > 0, t === 10 || t === 15, `step ${t}`)
    assert.equal(workers[0]!.stats.ranks, workers[1]!.stats.ranks)
    seen.push(workers[0]!.stats.ranks[0]!)
  }
  const want = Array.from({ length: 24 }, (_, t) =>
    t < 7 || t === 10 || (t >= 15 && t < 19) ? 3 : 1,
  )
  assert.equal(seen, want)
})

test('a drop waits for a mean that says so: not for one of nobody, nor for an aborted step', async () => {
  let rate = 1
  const learningRate = () => rate
  const [worker] = await fleet(1, { low: 1, high: 3, window: 1, every: 2, learningRate })
  for (let t = 0; t < 3; t++) await stepTogether([worker!], [unit(1)])
  assert.equal(worker!.stats.ranks, LOW)
  rate = 0.1
  await worker!.compress(unit(1))
  worker!.abort()
  assert.equal(worker!.stats.ranks, LOW)
  // Step 4 decides; no gradient arrives.
  await stepWithoutGradients([worker!])
  assert.equal(worker!.stats.ranks, LOW)
  const { means } = await stepTogether([worker!], [unit(1)])
  assert.equal([...open(means[1]!).scalars], [1])
  assert.equal(worker!.stats.ranks, HIGH)
  const next = await stepTogether([worker!], [unit(1)])
  assert.equal([...open(next.means[1]!).scalars], [0, 2, 2, 1])
  assert.equal(worker!.stats.ranks, LOW, 'compared with step 2')
})

test('a learning rate that is no number is refused before anything changes', async () => {
  let rate: unknown = 1
  const learningRate = () => rate as number
  const [worker] = await fleet(1, { low: 1, high: 3, window: 2, learningRate })
  await stepTogether([worker!], [unit(1)])
  const before = await worker!.save()
  for (rate of [Number.NaN, '0.1', undefined]) {
    const error = await errorOf(() => worker!.compress(unit(1)))
    assert.instance(error, TypeError)
    assert.match(error.message, /^"learningRate": expected it to return a number, got /)
    sameBytes(await worker!.save(), before, 'state')
  }
})

test("'global': one norm of all matrices decides for all", async () => {
  const workers = await fleet(2, { low: 1, high: 3, window: 1, scope: 'global' })
  // The second matrix grows by more than a half, but both together do not; at last they do.
  for (const [second, want] of [
    [1, HIGH],
    [1.8, LOW],
    [1, LOW],
    [20, HIGH],
  ] as const) {
    const gradients = workers.map(() => [...unit(4).slice(0, 2), ...unit(second).slice(2)])
    const { means } = await stepTogether(workers, gradients)
    assert.is(open(means[1]!).scalars.length, 2)
    for (const { stats } of workers) assert.equal(stats.ranks, want, `${second}`)
    const norm = Math.hypot(8, 2 * second)
    assert.ok(Math.abs((await norms(workers[0]!))[0]! - norm) < 1e-6 * norm)
  }
})

test('what would pay at the low rank alone stays raw; ranks are clipped; one of its own stays', async () => {
  const shapes = [[20, 20], { shape: [20, 20], rank: 2 }, { shape: [2, 9], compress: true }, [9]]
  const method = accordion({ low: 1, high: 5, window: 1 })
  const worker = await createCompressor(shapes, { method })
  assert.equal(worker.stats.ranks, [0, 2, 2, 0]) // 5 · 40 · 2 is not less than 400
  const gradients = [400, 400, 18, 9].map((n) => new Float32Array(n).fill(1))
  for (let t = 0; t < 2; t++) await stepTogether([worker], [gradients])
  assert.equal(worker.stats.ranks, [0, 2, 1, 0])
  assert.equal((await norms(worker)).length, 2)
  assert.throws(() => worker.setRank(3), /the method accordion has no use for it/)
})

test('a deciding step that is aborted, or in which no gradient arrives, decides nothing', async () => {
  const workers = await fleet(2, { low: 1, high: 3, window: 2 })
  const both = (gradients: Float32Array[]) => stepTogether(workers, [gradients, gradients])
  for (let t = 0; t < 3; t++) await both(unit(1))
  for (const worker of workers) await worker.compress(unit(1))
  for (const worker of workers) worker.abort() // step 3
  for (const { stats } of workers) assert.equal(stats.ranks, HIGH)
  await both(unit(1))
  await stepWithoutGradients(workers) // step 5
  for (const { stats } of workers) assert.equal(stats.ranks, HIGH)
  assert.equal(await norms(workers[0]!), [4, 4], 'those of the first window')
  await both(unit(1))
  await both(unit(1)) // step 7
  for (const { stats } of workers) assert.equal(stats.ranks, LOW)
})

test('windows begin when compression does', async () => {
  const method = accordion({ low: 1, high: 3, window: 2 })
  const worker = await createCompressor(SHAPES, { ...ALL, method, startCompressingAfter: 3 })
  for (let t = 0; t < 7; t++) {
    const { means } = await stepTogether([worker], [unit(1)])
    const { length } = open(means.at(-1)!).scalars
    assert.is(length, t === 4 || t === 6 ? 3 : 0, `step ${t}`)
    assert.equal(worker.stats.ranks, t === 6 ? LOW : HIGH)
  }
})

test('norms are kept for those who come; what cannot be is refused, and nothing has changed', async () => {
  const [worker] = await fleet(1, { low: 1, high: 3, window: 1 })
  await stepTogether([worker!], [unit(1)])
  const state = await worker!.save()
  const { metadata, tensors } = readState(state)
  assert.equal(JSON.parse(metadata.notes!), { norms: '2 2' })
  const [joiner] = await fleet(1, { low: 1, high: 3, window: 1 })
  const before = await joiner!.save()
  for (const norms of ['2', '2 2 2', '2 two', '', '2  2', '2 0x2']) {
    const notes = JSON.stringify({ norms })
    const spoilt = writeState(Object.fromEntries(tensors), { ...metadata, notes })
    const error = await errorOf(() => joiner!.join(spoilt), norms)
    assert.instance(error, RangeError)
    assert.match(error.message, /^"checkpoint": notes: norms: expected 2 numbers, got /)
    sameBytes(await joiner!.save(), before, 'state')
  }
  joiner!.join(state)
  for (const one of [worker!, joiner!]) {
    await stepTogether([one], [unit(1.4)])
    assert.equal(one.stats.ranks, LOW)
  }
})

test('norms too large for a frame do not keep a worker from taking part', async () => {
  const [worker] = await fleet(1, { low: 1, high: 3, window: 1 }, [[2 ** 16, 2 ** 5]])
  const gradient = new Float32Array(2 ** 21).fill(2 ** 55)
  const { outcomes } = await stepTogether([worker!], [[gradient]])
  assert.is(outcomes[0]!.counted, true)
})

test('a backend that has to be waited for decides the same', async () => {
  const options = { low: 1, high: 3, window: 2 }
  const slow = await createCompressor(SHAPES, {
    ...ALL,
    method: accordion(options),
    backend: slowBackend(),
  })
  const [worker] = await fleet(1, options)
  for (let t = 0; t < 6; t++) {
    const gradients = gradientsOf(SHAPES, 1, t < 4 ? 1 : 3)
    const { means } = await stepTogether([worker!], [gradients])
    const other = await stepTogether([slow], [gradients])
    for (const [round, mean] of means.entries()) sameBytes(other.means[round]!, mean, `${t}`)
    assert.equal(slow.stats.ranks, t === 3 || t === 4 ? LOW : HIGH)
  }
})

test('gradients in GPU buffers are refused before they are taken in', async () => {
  const method = accordion({ low: 1, high: 3, window: 2 })
  const worker = await createCompressor(SHAPES, { ...ALL, method, backend: takingAnything() })
  await stepTogether([worker], [unit(1)])
  const before = await worker.save()
  const buffers = SHAPES.map(() => ({ buffer: {} }))
  const error = await errorOf(() => worker.compress(buffers as never))
  assert.instance(error, UnsupportedError)
  assert.match(error.message, /byEnergy/)
  sameBytes(await worker.save(), before, 'state')
  await stepTogether([worker], [unit(1)])
})

test.run()

function fleet(
  count: number,
  options: AccordionOptions,
  shapes: number[][] = SHAPES,
): Promise<Compressor[]> {
  return createFleet(shapes, count, { ...ALL, method: accordion(options) })
}

/** A step in which no worker has a gradient. */
async function stepWithoutGradients(workers: readonly Compressor[]): Promise<void> {
  await stepTogether(
    workers,
    workers.map(() => null),
    undefined,
    { shapes: SHAPES },
  )
}

/** Gradients of norm 2 · scale, exactly. */
function unit(scale: number): Float32Array[] {
  return SHAPES.map((shape) => {
    const gradient = new Float32Array(shape.reduce((a, b) => a * b, 1))
    return gradient.fill(scale, 0, 4)
  })
}

/** The norms of a worker's last decision. */
async function norms(worker: Compressor): Promise<number[]> {
  const { norms } = JSON.parse(readState(await worker.save()).metadata.notes!)
  return norms.split(' ').map(Number)
}

/** The wasm backend, as if it could read GPU buffers: reading one fails. */
function takingAnything(): Backend {
  return {
    name: 'taking anything',
    async open(layout) {
      const session = await wasm().open(layout)
      return new Proxy(session, {
        get(target, key) {
          if (key === 'check') return () => undefined
          const value = Reflect.get(target, key, target)
          return typeof value === 'function' ? value.bind(target) : value
        },
      })
    },
  }
}
