import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createWasmKernels } from '../../src/backends/wasm/kernels.ts'
import { createSgd, type Sgd } from '../../src/compressor/sgd.ts'
import { aggregate, createCompressor, RoundError } from '../../src/index.ts'
import { gamma, same, within } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const test = suite('sgd')

const SHAPES = [[24, 5, 3], [24], [9, 24]]
const LENGTHS = [360, 24, 216]
const OPTIONS = { rank: 2 }

/** An exchange among so many workers: each gets the mean once all have sent. */
function exchangeOf(workers: number): (frame: Uint8Array) => Promise<Uint8Array> {
  let frames: Uint8Array[] = []
  let waiting: ((mean: Uint8Array) => void)[] = []
  return (frame) =>
    new Promise((resolve) => {
      frames.push(frame)
      waiting.push(resolve)
      if (frames.length < workers) return
      const mean = aggregate(frames)
      for (const wake of waiting) wake(mean)
      frames = []
      waiting = []
    })
}

const alone = (frame: Uint8Array) => aggregate([frame])

/** One array per shape, the same for the same seed. */
function arrays(seed: number): Float32Array[] {
  return LENGTHS.map((length, i) => gaussian(length, 100 * seed + i))
}

function allSame(got: readonly Float32Array[], want: readonly Float32Array[]): void {
  assert.is(got.length, want.length)
  for (const [i, array] of got.entries()) same(array, want[i]!)
}

test('follows the rule, recomputed in float64 from the updates that came back', async () => {
  const [learningRate, momentum, weightDecay] = [0.1, 0.9, 1e-4]
  const sgd = await createSgd(await createCompressor(SHAPES, OPTIONS), {
    learningRate,
    momentum,
    weightDecay,
  })
  const parameters = arrays(1)
  const x = parameters.map((array) => Float64Array.from(array))
  const m = LENGTHS.map((length) => new Float64Array(length))
  const size = LENGTHS.map((length) => new Float64Array(length)) // Σ of all that was added to x
  const steps = 6
  for (let step = 0; step < steps; step++) {
    const gradients = arrays(10 + step)
    const outcome = await sgd.step(parameters, gradients, alone)
    assert.equal(outcome, { counted: true, senders: [0], weight: 1, refused: [] })
    for (const [i, update] of gradients.entries()) {
      for (const [j, value] of update.entries()) {
        const d = value + weightDecay * x[i]![j]!
        m[i]![j] = step === 0 ? d : momentum * m[i]![j]! + d
        x[i]![j] = x[i]![j]! - learningRate * (d + m[i]![j]!)
        size[i]![j] = size[i]![j]! + Math.abs(value) + Math.abs(m[i]![j]!) + Math.abs(x[i]![j]!)
      }
    }
    // Each term of the sum has seven roundings a step, and those of the three constants.
    for (const [i, got] of parameters.entries()) {
      within(got, x[i]!, (j) => gamma(10 * (step + 1)) * size[i]![j]!)
    }
  }
})

test('has the bits of the kernel, on either side of a tile', async () => {
  const wasm = await createWasmKernels()
  for (const length of [1, 5, 16383, 16384, 16385, 40003]) {
    const compressor = await createCompressor([[length]])
    const sgd = await createSgd(compressor, {
      learningRate: 0.3,
      momentum: 0.7,
      weightDecay: 0.01,
    })
    const x = gaussian(length, 1)
    const [want, m, g] = [x.slice(), new Float32Array(length), gaussian(length, 2)]
    for (let step = 0; step < 3; step++) {
      sgd.apply([x], [g])
      await wasm.momentum(want, m, g, 0.3, 0.7, 0.01)
    }
    same(x, want)
  }
})

test('without momentum it is plain stochastic gradient descent', async () => {
  const sgd = await createSgd(await createCompressor(SHAPES), {
    learningRate: 0.3,
    momentum: 0,
    weightDecay: 0.5,
  })
  const [x, update] = [arrays(1), arrays(2)]
  const round = Math.fround
  const want = x.map((array, i) =>
    array.map((value, j) => {
      const d = round(update[i]![j]! + round(0.5 * value))
      return value - round(round(0.3) * d)
    }),
  )
  sgd.apply(x, update)
  allSame(x, want)
  // A number of the update that is not finite spoils only its own element.
  const spoilt = update.map((array) => array.slice())
  spoilt[0]![3] = Number.POSITIVE_INFINITY
  sgd.apply(x, spoilt)
  sgd.apply(x, update)
  assert.is(x.flatMap((array) => [...array]).filter((value) => !Number.isFinite(value)).length, 1)
})

test('weight decay pulls towards zero, and is not sent', async () => {
  const sgd = await createSgd(await createCompressor(SHAPES, OPTIONS), {
    learningRate: 0.1,
    weightDecay: 0.5,
  })
  const x = arrays(1)
  const want = x.map((array) => array.map((value) => value - 0.1 * 2 * 0.5 * value))
  const gradients = LENGTHS.map((length) => new Float32Array(length))
  await sgd.step(x, gradients, alone)
  for (const update of gradients) assert.ok(update.every((value) => value === 0))
  for (const [i, got] of x.entries()) {
    within(got, want[i]!, (j) => gamma(8) * 2 * Math.abs(want[i]![j]!))
  }
})

test('all workers have the same bits, whatever their gradients and weights', async () => {
  const exchange = exchangeOf(3)
  const workers = await Promise.all(
    [0, 1, 2].map(async (sender) => ({
      sender,
      sgd: await createSgd(await createCompressor(SHAPES, { ...OPTIONS, sender }), {
        learningRate: 0.05,
        weightDecay: 1e-3,
      }),
      parameters: arrays(1),
    })),
  )
  for (let step = 0; step < 5; step++) {
    const outcomes = await Promise.all(
      workers.map(({ sender, sgd, parameters }) => {
        const gradients = arrays(50 + 3 * step + sender)
        if (step === 3) sgd.learningRate = 0.01
        return sgd.step(parameters, gradients, exchange, { weight: 1 + sender })
      }),
    )
    assert.equal(outcomes[0], { counted: true, senders: [0, 1, 2], weight: 6, refused: [] })
    allSame(workers[1]!.parameters, workers[0]!.parameters)
    allSame(workers[2]!.parameters, workers[0]!.parameters)
  }
})

test('at learning rate 0 the momentum goes on, and the parameters stay', async () => {
  for (const momentum of [0, 0.5]) {
    const sgd = await createSgd(await createCompressor([[4]]), { learningRate: 0, momentum })
    const x = [Float32Array.of(1, -2, 3, 0)]
    sgd.apply(x, [Float32Array.of(4, 8, -4, 0)])
    same(x[0]!, [1, -2, 3, 0])
    sgd.learningRate = 1
    sgd.apply(x, [new Float32Array(4)])
    same(x[0]!, momentum === 0 ? [1, -2, 3, 0] : [-1, -6, 5, 0])
    sgd.learningRate = 0
    assert.is(sgd.learningRate, 0)
  }
})

test('the learning rate can be changed, and is checked', async () => {
  const sgd = await createSgd(await createCompressor([[4]]), { learningRate: 1, momentum: 0 })
  assert.is(sgd.learningRate, 1)
  sgd.learningRate = 0.25
  const x = [new Float32Array(4)]
  sgd.apply(x, [Float32Array.of(4, 8, -4, 0)])
  same(x[0]!, [-1, -2, 1, 0])
  assert.throws(() => {
    sgd.learningRate = -1
  }, /"learningRate": expected a finite number ≥ 0, got -1/)
  assert.is(sgd.learningRate, 0.25)
})

test('rounds can be driven by hand', async () => {
  const options = { learningRate: 0.1 }
  const one = await createSgd(await createCompressor(SHAPES, OPTIONS), options)
  const compressor = await createCompressor(SHAPES, OPTIONS)
  const two = await createSgd(compressor, options)
  const [x, y] = [arrays(1), arrays(1)]
  for (let step = 0; step < 3; step++) {
    await one.step(x, arrays(5 + step), alone)
    const update = arrays(5 + step)
    let frame: Uint8Array | null = await compressor.compress(update)
    while (frame) frame = await compressor.receive(alone(frame))
    await compressor.decompress(update)
    two.apply(y, update)
    allSame(y, x)
  }
})

test('a failed exchange leaves the parameters alone, and the step open', async () => {
  const compressor = await createCompressor(SHAPES, OPTIONS)
  const sgd = await createSgd(compressor, { learningRate: 0.1 })
  const x = arrays(1)
  await sgd.step(x, arrays(2), alone)
  const before = x.map((array) => array.slice())
  const gradients = arrays(3)
  await rejects(
    () => sgd.step(x, gradients, () => Promise.reject(new Error('no connection'))),
    Error,
    /no connection/,
  )
  allSame(x, before)
  allSame(gradients, arrays(3))
  assert.is(compressor.stats.round, 0)
  await rejects(() => sgd.save(), RoundError, /save/)
  compressor.abort()
  await sgd.step(x, gradients, alone)
  assert.ok(x.every((array, i) => array.some((value, j) => value !== before[i]![j])))
})

test('one file restores compressor and momentum, and it goes on with the same bits', async () => {
  const options = { learningRate: 0.1, weightDecay: 1e-3 }
  const sgd = await createSgd(await createCompressor(SHAPES, OPTIONS), options)
  const x = arrays(1)
  for (let step = 0; step < 3; step++) await sgd.step(x, arrays(5 + step), alone)
  const restore = await sgd.save()
  const before = restore.slice()
  const again = await createSgd(await createCompressor(SHAPES, { ...OPTIONS, restore }), {
    ...options,
    restore,
  })
  const y = x.map((array) => array.slice())
  for (let step = 3; step < 6; step++) {
    await sgd.step(x, arrays(5 + step), alone)
    await again.step(y, arrays(5 + step), alone)
    allSame(y, x)
  }
  assert.equal(await again.save(), await sgd.save())
  same(restore, before)
})

test('what is saved before the first step, or without residual, restores as well', async () => {
  const options = { learningRate: 0.1 }
  const sgd = await createSgd(await createCompressor(SHAPES, OPTIONS), options)
  const first = await sgd.save()
  const [x, y] = [arrays(1), arrays(1)]
  const fresh = await createSgd(await createCompressor(SHAPES, { ...OPTIONS, restore: first }), {
    ...options,
    restore: first,
  })
  await sgd.step(x, arrays(2), alone)
  await fresh.step(y, arrays(2), alone)
  allSame(y, x)

  const [whole, small] = [await sgd.save(), await sgd.save({ residual: false })]
  const floats = LENGTHS.reduce((sum, length) => sum + length)
  assert.ok(small.length < whole.length - 4 * floats)
  const joined = await createSgd(await createCompressor(SHAPES, OPTIONS), {
    ...options,
    restore: small,
  })
  joined.apply(x, arrays(3))
  sgd.apply(y, arrays(3))
  allSame(y, x)
})

test('save is of the moment in which it is called', async () => {
  const sgd = await createSgd(await createCompressor(SHAPES, OPTIONS), { learningRate: 0.1 })
  sgd.apply(arrays(1), arrays(2))
  const before = await sgd.save()
  const saving = sgd.save()
  sgd.apply(arrays(1), arrays(3))
  same(await saving, before)
})

test('options that do not fit are named', async () => {
  const compressor = await createCompressor(SHAPES, OPTIONS)
  const learningRate = 0.1
  const other = await createSgd(await createCompressor([[4]]), { learningRate })
  other.apply([new Float32Array(4)], [new Float32Array(4)])
  const shorter = await createSgd(await createCompressor([[360], [4], [216]]), { learningRate })
  const some = [360, 4, 216].map((length) => new Float32Array(length))
  shorter.apply(some, some)
  const cases: [unknown, RegExp][] = [
    [undefined, /"options": expected \{ learningRate, .* \}, got undefined/],
    [{}, /"learningRate": expected a number, got undefined/],
    [{ learningRate: -1 }, /"learningRate": expected a finite number ≥ 0, got -1/],
    [{ learningRate, restore: null }, /"restore": expected a Uint8Array .*got null/],
    [{ learningRate, momentum: 0, restore: '' }, /"restore": expected a Uint8Array/],
    [{ learningRate: 1e39 }, /"learningRate"/],
    [{ learningRate, momentum: 1 }, /"momentum": expected .* less than 1, got 1/],
    [{ learningRate, momentum: -0.5 }, /"momentum"/],
    [{ learningRate, momentum: '0.9' }, /"momentum": expected a number, got "0.9"/],
    [{ learningRate, weightDecay: Number.NaN }, /"weightDecay": expected .* ≥ 0, got NaN/],
    [{ learningRate, nesterov: true }, /"nesterov": no such option/],
    [{ learningRate, restore: 'x' }, /expected a Uint8Array/],
    [
      { learningRate, restore: await other.save() },
      /"restore": expected momentum\/0 … momentum\/2/,
    ],
    [
      { learningRate, restore: await shorter.save() },
      /"restore: momentum\[1\]": expected 24 floats for shape \[24\], got 4/,
    ],
  ]
  for (const [options, message] of cases) {
    await rejects(() => createSgd(compressor, options as never), Error, message)
  }
})

test('arrays that do not fit are named, and nothing has been sent or changed', async () => {
  const compressor = await createCompressor(SHAPES, OPTIONS)
  const sgd = await createSgd(compressor, { learningRate: 0.1 })
  const x = arrays(1)
  const short = [x[0]!, x[1]!]
  const wrong = [x[0]!, new Float32Array(3), x[2]!]
  const cases: [Parameters<Sgd['apply']>, RegExp][] = [
    [[short, arrays(2)], /"parameters": expected 3 entries, got 2/],
    [[x, short], /"(update|gradients)": expected 3 entries, got 2/],
    [[x, wrong], /"(update|gradients)\[1\]": expected 24 floats for shape \[24\], got 3/],
    [[[[], [], []] as never, x], /"parameters\[0\]": expected a Float32Array, got Array/],
    [[x, null as never], /"(update|gradients)": expected an array, got null/],
  ]
  const fail = () => assert.unreachable('sent')
  for (const [[parameters, update], message] of cases) {
    assert.throws(() => sgd.apply(parameters, update), message)
    await rejects(() => sgd.step(parameters, update, fail as never), Error, message)
  }
  allSame(x, arrays(1))
  assert.is(compressor.stats.round, null)
})

test('a step while another runs is refused', async () => {
  const sgd = await createSgd(await createCompressor(SHAPES, OPTIONS), { learningRate: 0.1 })
  const running = sgd.step(arrays(1), arrays(2), alone)
  await rejects(() => sgd.step(arrays(1), arrays(2), alone), RoundError, /still running/)
  await rejects(() => sgd.save(), RoundError, /still running/)
  await running
})

test.run()

async function rejects(
  call: () => Promise<unknown>,
  kind: new (...parts: never[]) => Error,
  message: RegExp,
): Promise<void> {
  let thrown: unknown
  await call().catch((error: unknown) => {
    thrown = error
  })
  assert.ok(thrown instanceof kind, `expected ${message}, got ${thrown}`)
  assert.match((thrown as Error).message, message)
}
