// One step of PowerSGD through the public doors: a known vector, and identities that hold for any
// input. textbook.test.ts compares with float64, simulation.test.ts checks many steps.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { reference } from '../../src/backends/reference.ts'
import { aggregate, createCompressor, type Options, type Random } from '../../src/index.ts'
import { sameBytes, sameFloats, UNIT, within } from '../support/close.ts'
import { createFleet, residualsOf, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { ALL, distance, norm } from '../support/norms.ts'
import { gradientsOf, uniform } from '../support/numbers.ts'

const test = suite('step')

/** The update of one worker's first step. */
async function updateOf(
  gradient: Float32Array,
  shape: readonly number[],
  options: Options,
): Promise<Float32Array> {
  const worker = await createCompressor([shape], { ...ALL, ...options })
  const { updates } = await stepTogether([worker], [[gradient]])
  return updates[0]![0]!
}

test('two workers, by hand', async () => {
  const random: Random = () => Float32Array.of(1, 1)
  const workers = await createFleet([[3, 2]], 2, { ...ALL, rank: 1, random })
  const gradients = [[Float32Array.of(1, 2, 3, 4, 5, 6)], [Float32Array.of(6, 5, 4, 3, 2, 1)]]
  const { frames, means, updates } = await stepTogether(workers, gradients)
  const near = (want: readonly number[]) => (got: ArrayLike<number>) =>
    within(got, want, (i) => 8 * UNIT * (Math.abs(want[i]!) + 1), 'by hand')
  const root = (x: number, n: number) => x / Math.sqrt(n)
  // Q̂ = [1, 1] / √2: the query is orthonormalized before use.
  near([root(3, 2), root(7, 2), root(11, 2)])(open(frames[0]![0]!).floats)
  near([root(11, 2), root(7, 2), root(3, 2)])(open(frames[0]![1]!).floats)
  near([root(7, 2), root(7, 2), root(7, 2)])(open(means[0]!).floats)
  // P̂ = [1, 1, 1] / √3
  near([root(9, 3), root(12, 3)])(open(frames[1]![0]!).floats)
  near([root(12, 3), root(9, 3)])(open(frames[1]![1]!).floats)
  near([root(10.5, 3), root(10.5, 3)])(open(means[1]!).floats)
  near([3.5, 3.5, 3.5, 3.5, 3.5, 3.5])(updates[0]![0]!)
  sameFloats(updates[1]![0]!, updates[0]![0]!, 'the other update')
  near([-2, -2, 0, 0, 2, 2])((await residualsOf(workers[0]!))[0]!)
  near([2, 2, 0, 0, -2, -2])((await residualsOf(workers[1]!))[0]!)
})

test('W workers do what one does with the mean of their gradients', async () => {
  const shapes = [[20, 30], [7], [9, 4, 3]]
  const shared: Options = { ...ALL, rank: 2 }
  const weights = [1, 2, 5]
  const fleet = await createFleet(shapes, weights.length, shared)
  const single = await createCompressor(shapes, shared)
  for (let step = 0; step < 6; step++) {
    const all = fleet.map((_, i) => gradientsOf(shapes, 10 * step + i + 1))
    const mean = shapes.map((_, p) =>
      all[0]![p]!.map((_, j) => all.reduce((sum, g, w) => sum + (weights[w]! * g[p]![j]!) / 8, 0)),
    )
    const { updates } = await stepTogether(fleet, all, weights)
    const one = await stepTogether([single], [mean])
    for (const [p, want] of one.updates[0]!.entries()) {
      assert.ok(distance(updates[0]![p]!, want) <= 1e-5 * norm(want), `step ${step}, ${p}`)
    }
  }
})

test('what has the rank of the factors comes out whole, alone and among equal shapes', async () => {
  const outer = (seed: number) => {
    const [p, q] = [uniform(12, seed), uniform(17, seed + 100)]
    return Float32Array.from({ length: 12 * 17 }, (_, i) => p[Math.floor(i / 17)]! * q[i % 17]!)
  }
  const shapes = [1, 2, 3, 4, 5].map(() => [12, 17])
  const worker = await createCompressor(shapes, { ...ALL, rank: 1 })
  const gradients = shapes.map((_, i) => outer(i + 1))
  const { updates } = await stepTogether([worker], [gradients])
  for (const [i, e] of (await residualsOf(worker)).entries()) {
    assert.ok(distance(updates[0]![i]!, gradients[i]!) <= 1e-5 * norm(gradients[i]!))
    assert.ok(norm(e) <= 1e-5 * norm(gradients[i]!))
  }
})

test('‖M − P̂·Qᵀ‖² = ‖M‖² − ‖Q‖²', async () => {
  const shape = [30, 41]
  const worker = await createCompressor([shape], { ...ALL, rank: 3 })
  const m = uniform(30 * 41, 5)
  const { means } = await stepTogether([worker], [[m]])
  const [e] = await residualsOf(worker)
  const [whole, sent, left] = [m, open(means[1]!).floats, e!].map((x) => norm(x) ** 2)
  // P̂ is orthonormal to 5e-7, and every element of e was rounded 2r + 2 times at most.
  assert.ok(Math.abs(left! - (whole! - sent!)) <= (3 * 5e-7 + 2 * 8 * UNIT) * 2 * whole!)
})

/** rows × cols with singular values σᵢ = (i + 1)^−power. */
function spectrum(rows: number, cols: number, power: number): Float32Array {
  const rank = Math.min(rows, cols)
  const [u, v] = [new Float32Array(rows * rank), new Float32Array(cols * rank)]
  reference.normal(u, 1, 0, 0, 0, 0)
  reference.normal(v, 2, 0, 0, 0, 0)
  assert.is(reference.orthonormalize(u, rows, rank), rank)
  assert.is(reference.orthonormalize(v, cols, rank), rank)
  for (let k = 0; k < rank; k++) {
    for (let i = 0; i < rows; i++) u[k * rows + i]! *= (k + 1) ** -power
  }
  const m = new Float32Array(rows * cols)
  reference.reconstruct(m, u, v, { rows, cols, rank })
  return m
}

for (const { power, rank, first, second } of [
  { power: 0.5, rank: 4, first: 1.16, second: 1.03 },
  { power: 0.9, rank: 2, first: 1.38, second: 1.005 },
]) {
  test(`warm steps come to the best of rank ${rank}: spectrum i^−${power}`, async () => {
    const [rows, cols] = [256, 512]
    const m = spectrum(rows, cols, power)
    let tail = 0
    for (let k = rank; k < rows; k++) tail += (k + 1) ** (-2 * power)
    const runs: number[][] = []
    for (let seed = 0; seed < 9; seed++) {
      const worker = await createCompressor([[rows, cols]], {
        ...ALL,
        rank,
        seed,
        errorFeedback: 'none', // so that every step sees the same M
      })
      const ratios: number[] = []
      for (let step = 0; step < 10; step++) {
        const { updates } = await stepTogether([worker], [[m]])
        const ratio = distance(updates[0]![0]!, m) / Math.sqrt(tail)
        assert.ok(ratio >= 1 - 1e-6, `better than the best: ${ratio}`)
        assert.ok(ratio <= (ratios.at(-1) ?? Infinity) * (1 + 1e-6), `${ratio} after ${ratios}`)
        ratios.push(ratio)
      }
      runs.push(ratios)
    }
    // The figures depend on the seed, so the test takes the median.
    const median = (step: number) => runs.map((run) => run[step]!).sort((x, y) => x - y)[4]!
    assert.ok(Math.abs(median(0) / first - 1) <= 0.05, `first: ${median(0)}`)
    assert.ok(Math.abs(median(1) / second - 1) <= 0.02, `second: ${median(1)}`)
    assert.ok(median(9) <= 1.0005, `tenth: ${median(9)}`)
  })
}

test('k iterations take 2k rounds and come closer', async () => {
  const m = spectrum(32, 48, 0.5)
  const errors: number[] = []
  for (const iterations of [1, 2, 3]) {
    const worker = await createCompressor([[32, 48]], { ...ALL, rank: 2, iterations })
    const { frames, updates } = await stepTogether([worker], [[m]])
    assert.is(frames.length, 2 * iterations)
    errors.push(distance(updates[0]![0]!, m))
  }
  assert.ok(errors[0]! > errors[1]! && errors[1]! > errors[2]!, String(errors))
})

test('two iterations are two steps without feedback, the second one warm', async () => {
  const m = uniform(13 * 17, 3)
  const twice = await updateOf(m, [13, 17], { rank: 2, iterations: 2 })
  const worker = await createCompressor([[13, 17]], { ...ALL, rank: 2, errorFeedback: 'none' })
  await stepTogether([worker], [[m]])
  const { updates } = await stepTogether([worker], [[m]])
  sameFloats(updates[0]![0]!, twice, 'update')
})

test('the update depends on the span of the query alone', async () => {
  const m = uniform(21 * 13, 8)
  const [a, b] = [uniform(13, 1), uniform(13, 2)]
  const columns =
    (...list: Float32Array[]): Random =>
    (_use, _parameter, column) =>
      list[column]!
  const want = await updateOf(m, [21, 13], { rank: 2, random: columns(a, b) })
  const mixed = a.map((x, i) => 2 * x - 3 * b[i]!)
  for (const [name, random] of [
    ['in another order', columns(b, a)],
    [
      'of other signs',
      columns(
        a.map((x) => -x),
        b,
      ),
    ],
    [
      'of other lengths',
      columns(
        a.map((x) => 1e-12 * x),
        b.map((x) => 1e12 * x),
      ),
    ],
    ['mixed', columns(mixed, a)],
  ] as const) {
    const got = await updateOf(m, [21, 13], { rank: 2, random })
    assert.ok(distance(got, want) <= 1e-5 * norm(want), `columns ${name}`)
  }
})

test('nothing depends on the scale of the gradient', async () => {
  const m = uniform(19 * 11, 4)
  const want = await updateOf(m, [19, 11], { rank: 3 })
  for (const scale of [2 ** -66, 2 ** 58]) {
    const got = await updateOf(
      m.map((x) => scale * x),
      [19, 11],
      { rank: 3 },
    )
    sameFloats(
      got,
      want.map((x) => scale * x),
      `update of ${scale}·M`,
    )
  }
  for (const scale of [1e-20, 1e17]) {
    const got = await updateOf(
      m.map((x) => scale * x),
      [19, 11],
      { rank: 3 },
    )
    const back = got.map((x) => x / scale)
    assert.ok(distance(back, want) <= 1e-5 * norm(want), `update of ${scale}·M`)
  }
})

test('the same calls give the same bytes', async () => {
  const shapes = [[8, 9], [5], [4, 6]]
  const run = async () => {
    const worker = await createCompressor(shapes, { ...ALL, rank: 2, seed: 3, wire: 'int8' })
    const all: Uint8Array[] = []
    for (let step = 0; step < 3; step++) {
      const { frames } = await stepTogether([worker], [gradientsOf(shapes, step + 1)])
      all.push(...frames.flat())
    }
    return [...all, await worker.save()]
  }
  const [one, two] = [await run(), await run()]
  for (const [i, bytes] of one.entries()) sameBytes(two[i]!, bytes, `bytes ${i}`)
})

test('a parameter that is appended leaves the first queries of the others as they are', async () => {
  const m = uniform(8 * 9, 1)
  const left = async (shapes: number[][]) => {
    const worker = await createCompressor(shapes, { ...ALL, rank: 2 })
    const rest = shapes.slice(1).map(([n, k]) => uniform(n! * k!, 2))
    return open(await worker.compress([m, ...rest])).floats.slice(0, 16)
  }
  const alone = await left([[8, 9]])
  sameFloats(
    await left([
      [8, 9],
      [5, 5],
    ]),
    alone,
    'P',
  )
})

test('a mean of a mean is that mean', async () => {
  const workers = await createFleet([[4, 5]], 2, ALL)
  const frames = await Promise.all(workers.map((w, i) => w.compress([uniform(20, i + 1)])))
  const mean = aggregate(frames)
  sameBytes(aggregate([mean]), mean, 'mean')
})

test.run()
