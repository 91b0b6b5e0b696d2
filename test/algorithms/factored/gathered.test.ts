// Factors that all workers get from all others: dAD and rank-dAD.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeFrame } from '../../../src/codec/frame.ts'
import { partsOf } from '../../../src/codec/gathered.ts'
import { dad, type RankDadOptions, rankDad } from '../../../src/factored.ts'
import {
  aggregate,
  createCompressor,
  FrameError,
  type Gradient,
  type Options,
  plan,
} from '../../../src/index.ts'
import { eigen } from '../../../src/linalg/eigen.ts'
import { gatheredOf } from '../../support/bytes.ts'
import { sameBytes, sameFloats, within } from '../../support/close.ts'
import { errorOf } from '../../support/errors.ts'
import { createFleet, residualsOf } from '../../support/fleet.ts'
import { uniform } from '../../support/numbers.ts'
import {
  explicit,
  gradientsOf,
  type Pair,
  pairOf,
  relative,
  SHAPES,
  stepFactored,
} from './factors.ts'
import { published } from './published.ts'

const test = suite('gathered factors')

const fleet = (options: Options, workers = 3) => createFleet(SHAPES, workers, options)

/** Words of the only part in a frame. */
function wordsOf(frame: Uint8Array): number[] {
  const [{ data }] = partsOf(decodeFrame(frame)) as [ReturnType<typeof partsOf>[number]]
  const view = new DataView(data.buffer, data.byteOffset)
  return Array.from({ length: view.getUint32(0, true) }, (_, i) => view.getUint32(8 + 4 * i, true))
}

test('dAD is the weighted mean gradient, whatever each worker has of samples', async () => {
  const workers = await fleet({ method: dad({ samples: 9 }) })
  const weights = [1, 2.5, 4.5]
  for (let step = 0; step < 3; step++) {
    const given = workers.map((_, i) => gradientsOf(10 * step + i, [1 + 2 * i + step, 9 - i]))
    const { frames, updates, outcomes } = await stepFactored(
      workers,
      given.map(({ factored }) => factored),
      weights,
    )
    assert.is(frames.length, 1)
    assert.equal(outcomes[1], { counted: true, senders: [0, 1, 2], weight: 8, refused: [] })
    // Factors of matrix 3 would be smaller, too, but it is not factored here: it travels whole.
    assert.equal(wordsOf(frames[0]![1]!), [3 + step, 8, 0xffffffff])
    for (const [i, update] of updates[0]!.entries()) {
      const wanted = update.map((_, j) =>
        given.reduce((sum, { whole }, w) => sum + (weights[w]! * whole[i]![j]!) / 8, 0),
      )
      assert.ok(relative(update, wanted) <= 1e-6, `parameter ${i}: ${relative(update, wanted)}`)
      sameFloats(update, updates[2]![i]!, 'workers agree')
      if (i % 2 === 1) sameFloats(update, Float32Array.from(wanted), 'as it is: exact')
    }
    const squares = updates[0]!.flatMap((x) => [...x]).reduce((sum, x) => sum + x * x, 0)
    assert.ok(Math.abs(workers[2]!.updateNorm! / Math.sqrt(squares) - 1) <= 1e-12)
  }
  assert.is(await workers[0]!.residualNorm(), 0)
})

test('dAD, one worker of weight 1: biases come out bit by bit, into and added to parameters', async () => {
  const [worker] = await fleet({ method: dad({ samples: 9 }) }, 1)
  const { factored, whole } = gradientsOf(1)
  await worker!.compress(factored)
  const { means } = await stepFactored(await fleet({ method: dad({ samples: 9 }) }, 1), [factored])
  await worker!.receive(means[0]!)
  const parameters = whole.map(({ length }, i) => uniform(length, i))
  const before = parameters.map((x) => x.slice())
  await worker!.decompress(parameters, { scale: -0.5, accumulate: true })
  sameFloats(
    parameters[1]!,
    before[1]!.map((x, j) => x - 0.5 * whole[1]![j]!),
    'bias',
  )
  within(
    parameters[0]!,
    before[0]!.map((x, j) => x - 0.5 * whole[0]![j]!),
    () => 1e-5,
    'matrix',
  )
})

test('dAD pays below N = n·m ÷ (n + m): 512 samples for 1024 × 1024, 2048 for 4096 × 4096', () => {
  for (const [side, limit] of [
    [1024, 512],
    [4096, 2048],
  ] as const) {
    const planned = (samples: number) => plan([[side, side], [side]], { method: dad({ samples }) })
    const { parameters, floats, ratio } = planned(limit - 1)
    assert.equal(
      parameters.map(({ rank }) => rank),
      [limit - 1, 0],
    )
    assert.is(floats, 2 * side * (limit - 1) + side + 1) // and a word: N
    assert.ok(ratio > 1)
    assert.equal(
      planned(limit).parameters.map(({ rank }) => rank),
      [0, 0],
    )
    assert.is(planned(limit).floats, side * side + side)
  }
  // Each parameter has its own limit; a higher minimum rate asks for more gain.
  const ranks = (options: Options) => plan(SHAPES, options).parameters.map(({ rank }) => rank)
  assert.equal(ranks({ method: dad({ samples: [9, 1, 14, 9] }) }), [9, 0, 0, 9])
  assert.equal(ranks({ method: dad({ samples: 9 }), minCompressionRate: 2 }), [9, 0, 0, 0])
  const rate: Options = { method: dad({ samples: 9 }), minCompressionRate: 0.5 }
  assert.throws(() => plan(SHAPES, rate), /"minCompressionRate": dad expects ≥ 1, got 0.5/)
})

test('what does not pay is multiplied out if it is factored', async () => {
  for (const options of [
    { method: dad({ samples: 30 }) },
    { method: rankDad(), rank: 20 },
  ] satisfies Options[]) {
    assert.ok(plan(SHAPES, options).parameters.every(({ rank }) => rank === 0))
    const [worker] = await fleet(options, 1)
    const { factored, whole } = gradientsOf(1)
    const { updates } = await stepFactored([worker!], [factored])
    for (const [i, want] of whole.entries()) assert.ok(relative(updates[0]![i]!, want) <= 1e-6)
  }
})

test('dAD refuses more samples than were agreed upon, and goes on', async () => {
  const [worker, twin] = await fleet({ method: dad({ samples: [4, 1, 9, 1] }) }, 2)
  const error = await errorOf(() => worker!.compress(gradientsOf(1, [5, 5]).factored))
  assert.instance(error, RangeError)
  assert.is(error.message, '"gradients[0]": expected at most 4 samples, got 5')
  await stepFactored(
    [worker!, twin!],
    [gradientsOf(2, [4, 9]).factored, gradientsOf(3, [4, 1]).factored],
  )
  for (const samples of [0, 1.5, [9, 0], '9', undefined]) {
    assert.throws(() => dad({ samples } as never), /^"samples(\[1\])?": expected /)
  }
  assert.throws(
    () => plan(SHAPES, { method: dad({ samples: [1, 2] }) }),
    /"samples": expected a number or 4 of them, got 2/,
  )
})

test('rank-dAD: published iteration and ours where the rank is lower than asked for', async () => {
  let [worst1, worst3] = [0, 0]
  for (const seed of [1, 2, 3, 4, 5]) {
    for (const rank of [1, 3]) {
      const pair = pairOf(40, 60, 32, seed, rank)
      const theirs = relative(published(pair, { seed }).product, explicit(pair))
      if (rank === 1) worst1 = Math.max(worst1, theirs)
      else worst3 = Math.max(worst3, theirs)
      for (const options of [{}, { iterations: 1 }] satisfies RankDadOptions[]) {
        const { error, count } = await alone(pair, options)
        assert.ok(error <= 1e-5, `rank ${rank}, seed ${seed}: ${error}`)
        assert.is(count, rank)
      }
    }
  }
  assert.ok(worst1 > 0.5, `rank 1, published: ${worst1}`)
  assert.ok(worst3 > 0.09, `rank 3, published: ${worst3}`)
})

test('rank-dAD: full rank, against the best there is', async () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const pair = pairOf(40, 60, 32, seed)
    const best = optimum(pair, 10)
    const { error, count } = await alone(pair)
    assert.is(count, 10)
    assert.ok(error <= 1.03 * best, `five turns: ${error} against ${best}`)
    // One iteration is a projection, so never worse than a zero update; the published one can be.
    const once = await alone(pair, { iterations: 1 })
    assert.ok(once.error <= 1.5 * best && once.error < 1, `one turn: ${once.error} against ${best}`)
    assert.ok((await alone(pair, { iterations: 60 })).error <= 1.0001 * best)
    assert.ok(relative(published(pair, { iterations: 1, seed }).product, explicit(pair)) > 1)
  }
})

test('rank-dAD sends what is above the threshold, and nothing of a zero gradient', async () => {
  const pair = pairOf(40, 60, 6, 1)
  for (const [n, size] of [1, 0.5, 0.1, 0.02, 1e-3, 1e-4].entries()) {
    for (let j = 0; j < 60; j++) pair.activations[n * 60 + j] = j === n ? 1 : 0
    for (let i = 0; i < 40; i++) pair.deltas[n * 40 + i] = i === n ? size : 0 // singular values
  }
  for (const [threshold, count] of [
    [1, 1],
    [0.3, 2],
    [0.05, 3],
    [0.01, 4],
    [5e-4, 5],
    [5e-5, 6],
  ] as const) {
    const got = await alone(pair, { threshold, iterations: 20 })
    assert.is(got.count, count, `threshold ${threshold}`)
  }
  pair.deltas.fill(0)
  const { count, update } = await alone(pair)
  assert.is(count, 0)
  assert.ok(update.every((x) => x === 0))
  for (const options of [
    { threshold: 2 },
    { threshold: -1 },
    { iterations: 0 },
    { threshold: '1' },
  ]) {
    assert.throws(() => rankDad(options as never), /^"(threshold|iterations)": expected /)
  }
})

test('rank-dAD: the update is the weighted mean of what each would get alone; biases are exact', async () => {
  const options: Options = { method: rankDad(), rank: 3 }
  const workers = await fleet(options)
  const weights = [1, 2, 5]
  const given = workers.map((_, i) => gradientsOf(i))
  const { updates, frames } = await stepFactored(
    workers,
    given.map(({ factored }) => factored),
    weights,
  )
  const each = await Promise.all(
    given.map(async ({ factored }) => {
      const [worker] = await fleet(options, 1)
      return (await stepFactored([worker!], [factored])).updates[0]!
    }),
  )
  for (const [i, update] of updates[0]!.entries()) {
    const wanted = update.map(
      (_, j) => each.reduce((sum, x, w) => sum + weights[w]! * x[i]![j]!, 0) / 8,
    )
    assert.ok(relative(update, wanted) <= 1e-6, `parameter ${i}`)
    sameFloats(update, updates[1]![i]!, 'workers agree')
  }
  const bias = updates[0]![1]!.map(
    (_, j) => given.reduce((sum, { whole }, w) => sum + weights[w]! * whole[1]![j]!, 0) / 8,
  )
  sameFloats(updates[0]![1]!, bias, 'bias')
  // A matrix given whole is compressed like the others; new ranks hold from the next step on.
  assert.equal(wordsOf(frames[0]![0]!), [3, 3, 3])
  for (const worker of workers) worker.setRank([2, 0, 0, 1])
  const next = await stepFactored(
    workers,
    given.map(({ factored }) => factored),
  )
  assert.equal(wordsOf(next.frames[0]![0]!), [2, 1])
})

test('what the wire loses is lost: the update is made of what frames say, and nothing is kept', async () => {
  for (const [name, method] of [
    ['dAD', dad({ samples: 9 })],
    ['rank-dAD', rankDad()],
  ] as const) {
    const error: Record<string, number> = {}
    const exact = (await stepFactored(await fleet({ method }, 1), [gradientsOf(1).factored]))
      .updates[0]!
    for (const wire of ['f16', 'bf16', 'int8'] as const) {
      const workers = await fleet({ method, wire }, 2)
      const { updates } = await stepFactored(workers, [
        gradientsOf(1).factored,
        gradientsOf(1).factored,
      ])
      for (const [i, update] of updates[0]!.entries()) sameFloats(update, updates[1]![i]!, wire)
      error[wire] = relative(updates[0]![0]!, exact[0]!)
      for (const e of await residualsOf(workers[0]!)) assert.ok(e.every((x) => x === 0))
    }
    assert.ok(error.f16! > 0 && error.f16! < 1e-3, `${name}: ${error.f16}`)
    assert.ok(error.bf16! > error.f16! && error.bf16! < 1e-2, `${name}: ${error.bf16}`)
    assert.ok(error.int8! > 0 && error.int8! < 5e-2, `${name}: ${error.int8}`)
  }
})

test('hostile parts are refused with the byte, and nothing has changed', async () => {
  for (const [method, options] of [
    ['dAD', { method: dad({ samples: [9, 1, 9, 18] }) }],
    ['rank-dAD', { method: rankDad(), rank: 3 }],
  ] as const) {
    const [worker, other] = await fleet(options, 2)
    const [twin] = await fleet(options, 1)
    const { factored } = gradientsOf(1)
    await worker!.compress(factored)
    const frame = await other!.compress(gradientsOf(2).factored)
    await twin!.compress(factored)
    const good = partsOf(decodeFrame(frame))[0]!
    const words = new Uint32Array(good.data.slice().buffer)
    const { configHash, ranks, step, round, parent } = decodeFrame(frame)
    const mean = (changed: Uint32Array) =>
      gatheredOf([{ ...good, data: new Uint8Array(changed.buffer) }], {
        ...{ configHash, step, round, parent, ranks: [...ranks] },
      })
    sameBytes(mean(words.slice()), aggregate([frame]), 'the frame itself')
    const own = words[0]!
    const edit = (at: number, value: number) => {
      const changed = words.slice()
      changed[at] = value
      return changed
    }
    const floats = new Float32Array(1)
    const word = (value: number) => {
      floats[0] = value
      return new Uint32Array(floats.buffer)[0]!
    }
    const huge = words.slice()
    for (let i = 2 + own; i < huge.length; i++) huge[i] = word(2 ** 63)
    const spoilt: [string, Uint32Array, RegExp][] = [
      ['more words than bytes', edit(0, 0xffffffff), /are not what/],
      ['NaN', edit(words.length - 1, word(Number.NaN)), /not finite/],
      ['an infinite number', edit(3 + own, word(Number.POSITIVE_INFINITY)), /not finite/],
      ['2⁶⁴', edit(3 + own, word(2 ** 64)), /not below 2⁶⁴/],
    ]
    for (const [what, changed, message] of spoilt) {
      const error = await errorOf(() => worker!.receive(mean(changed)), what)
      assert.instance(error, FrameError, `${method}, ${what}: ${error}`)
      assert.match(error.message, message, `${method}, ${what}`)
      assert.ok((error as FrameError).byte >= decodeFrame(frame).valuesAt, what)
    }
    const useless: [string, Uint32Array][] = [
      ['more columns than agreed', edit(2, 10)],
      ['far more', edit(2, 0xfffffffe)],
      ['fewer columns than floats for them', edit(2, 2)],
      ['a whole matrix that is not there', edit(3, 0xffffffff)],
      ['fewer words', words.map((x, i) => (i === 0 ? own - 1 : i === 1 ? x + 1 : x))],
      ['products that overflow', huge],
    ]
    for (const [what, changed] of useless) {
      const [receiver] = await fleet(options, 1)
      await receiver!.compress(factored)
      assert.is(await receiver!.receive(mean(changed)), null, what)
      const outcome = await receiver!.decompress(null)
      assert.equal(outcome, { counted: false, senders: [], weight: 0, refused: [good.sender] })
      receiver!.dispose()
    }
    for (const receiver of [worker!, twin!]) {
      assert.is(await receiver.receive(aggregate([frame])), null)
      await receiver.decompress(null)
    }
    const next = gradientsOf(5).factored
    sameBytes(await worker!.compress(next), await twin!.compress(next), method)
  }
})

test.run()

/** The update of one matrix by a single worker of rank 10, and how many columns it sends. */
async function alone(pair: Pair, options: RankDadOptions = {}) {
  const worker = await createCompressor([[pair.rows, pair.cols]], {
    method: rankDad(options),
    rank: 10,
    minCompressionRate: 0,
  })
  const gradients: Gradient[] = [pair]
  const frame = worker.compressSync(gradients)
  worker.receiveSync(frame)
  const update = new Float32Array(pair.rows * pair.cols)
  worker.decompressSync([update])
  return { update, error: relative(update, explicit(pair)), count: wordsOf(frame)[0]! }
}

/** Relative error of the best approximation of that rank, from the singular values beyond it. */
function optimum(pair: Pair, rank: number): number {
  const g = explicit(pair)
  const { rows, cols } = pair
  const gram = Float64Array.from({ length: rows * rows }, (_, at) => {
    const [i, j] = [Math.floor(at / rows), at % rows]
    let sum = 0
    for (let k = 0; k < cols; k++) sum += g[i * cols + k]! * g[j * cols + k]!
    return sum
  })
  const { values } = eigen(gram, rows)
  const squares = (list: Float64Array) => list.reduce((sum, x) => sum + Math.max(0, x), 0)
  return Math.sqrt(squares(values.slice(rank)) / squares(values))
}
