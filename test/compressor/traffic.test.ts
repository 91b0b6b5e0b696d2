// The traffic of a step: the papers' tables to the last float, and frames to the last byte.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { topK, uncompressed } from '../../src/baselines.ts'
import { dad } from '../../src/factored.ts'
import type { Wire } from '../../src/frames.ts'
import {
  aggregate,
  createCompressor,
  type Options,
  type ParameterSpec,
  plan,
} from '../../src/index.ts'
import { accordion, byEnergy, epfml, halfSteps, paper, pytorch } from '../../src/methods.ts'
import { createFleet, stepTogether } from '../support/fleet.ts'
import { gradientsOf } from '../support/numbers.ts'

const test = suite('plan')

type Shapes = readonly (readonly number[])[]

/** ResNet-18 for CIFAR-10: 21 matrices, 41 vectors, in the order of the model's parameters. */
function resnet18(): Shapes {
  const conv = (out: number, into: number, size = 3): Shapes => [
    [out, into, size, size],
    [out], // batch-norm weight
    [out], // and bias
  ]
  const block = (out: number, into: number): Shapes => [
    ...conv(out, into),
    ...conv(out, out),
    ...(out === into ? [] : conv(out, into, 1)),
  ]
  const stage = (out: number, into: number) => [...block(out, into), ...block(out, out)]
  const stages = [stage(64, 64), stage(128, 64), stage(256, 128), stage(512, 256)]
  return [...conv(64, 3), ...stages.flat(), [10, 512], [10]]
}

/** The 3-layer LSTM of WikiText-2, 650 wide, encoder and decoder tied. */
function lstm(): Shapes {
  const layer: Shapes = [[2600, 650], [2600, 650], [2600], [2600]]
  return [[28869, 650], ...layer, ...layer, ...layer, [28869]]
}

const EVERYTHING: Options = { minCompressionRate: 0 }
const MIB = 2 ** 20

for (const { name, shapes, dense, steps, table } of [
  {
    name: 'ResNet-18',
    shapes: resnet18(),
    dense: 11_173_962,
    steps: 24, // an epoch, by 16 workers with 128 samples each
    table: [
      { rank: 1, floats: 45_935, ratio: 243.26, mib: 4.205 },
      { rank: 2, floats: 82_260, ratio: 135.84, mib: 7.531 },
      { rank: 4, floats: 154_910, ratio: 72.13, mib: 14.182 },
      { rank: 7, floats: 263_885, ratio: 42.34, mib: 24.159 },
    ],
  },
  {
    name: 'LSTM',
    shapes: lstm(),
    dense: 28_949_319,
    steps: 70,
    table: [
      { rank: 1, floats: 93_488, ratio: 309.66, mib: 24.96 },
      { rank: 2, floats: 142_507, ratio: 203.14, mib: 38.05 },
      { rank: 4, floats: 240_545, ratio: 120.35, mib: 64.23 },
    ],
  },
]) {
  test(`${name}: the paper's floats, ratios and megabytes`, () => {
    for (const { rank, floats, ratio, mib } of table) {
      const got = plan(shapes, { ...EVERYTHING, rank })
      assert.is(got.denseFloats, dense)
      assert.is(got.floats, floats, `rank ${rank}`)
      assert.is(Number(got.ratio.toFixed(2)), ratio, `rank ${rank}`)
      assert.is(got.rounds, 2)
      const digits = String(mib).split('.')[1]!.length
      assert.is(Number(((4 * floats * steps) / MIB).toFixed(digits)), mib)
    }
  })
}

test('ResNet-18 at rate 2, as PyTorch has it: small layers go raw as the rank grows', () => {
  const raw = (rank: number) => {
    const { floats, parameters } = plan(resnet18(), { rank })
    return [floats, parameters.filter((p) => p.shape.length > 1 && p.rank === 0).length]
  }
  assert.equal(raw(1), [45_935, 0])
  assert.equal(raw(2), [82_260, 0])
  assert.equal(raw(4), [154_910, 0])
  assert.equal(raw(7), [265_351, 1])
  assert.equal(raw(16), [587_850, 2])
  assert.equal(raw(32), [1_226_826, 7])
})

test('the gate is strict, and counts every iteration', () => {
  const rank = (options: Options) => plan([[20, 20]], options).parameters[0]!.rank
  assert.is(rank({ rank: 4, minCompressionRate: 2 }), 4) // 4 · 40 · 2 < 400
  assert.is(rank({ rank: 5, minCompressionRate: 2 }), 0) // 400 is not less
  assert.is(rank({ rank: 2, minCompressionRate: 2, iterations: 2 }), 2)
  assert.is(rank({ rank: 4, minCompressionRate: 2, iterations: 2 }), 0)
  assert.is(rank({ rank: 9, minCompressionRate: 1 }), 9)
  assert.is(rank({ rank: 10, minCompressionRate: 1 }), 0)
})

test('which parameters become which matrices', () => {
  const shapes: ParameterSpec[] = [
    [6, 4, 2],
    [7],
    [],
    [1, 9],
    [9, 1, 1],
    { shape: [3, 3, 8, 16], rows: 72 },
    { shape: [30, 40], rank: 2 },
    { shape: [30, 40], compress: false },
    { shape: [5], compress: true },
    { shape: [1, 9], compress: true },
    [3, 50],
  ]
  const { parameters } = plan(shapes, { rank: 4, minCompressionRate: 0 })
  assert.equal(
    parameters.map(({ rows, cols, rank }) => [rows, cols, rank]),
    [
      [6, 8, 4],
      [7, 1, 0],
      [1, 1, 0],
      [1, 9, 0],
      [9, 1, 0],
      [72, 16, 4],
      [30, 40, 2],
      [30, 40, 0],
      [5, 1, 1],
      [1, 9, 1],
      [3, 50, 3], // clipped
    ],
  )
})

test('a matrix is the first axis against the rest, unless another split halves rows + cols', () => {
  const views: [readonly number[], number][] = [
    // PyTorch: [out, in, height, width], [out, in, width], transposed ones, depthwise ones
    ...([
      [64, 3, 7, 7],
      [512, 512, 3, 3],
      [64, 64, 1, 1],
      [64, 32, 3, 3, 3],
      [128, 64, 5],
      [512, 256, 4, 4],
      [32, 1, 3, 3],
    ].map((shape) => [shape, shape[0]!]) as [number[], number][]),
    // TensorFlow.js: [height, width, in, out], [width, in, out], depthwise [height, width, in, 1]
    [[3, 3, 64, 128], 576],
    [[7, 7, 3, 64], 147],
    [[5, 64, 128], 320],
    [[3, 3, 64, 1], 9],
    // stacks, and heads
    [[8, 768, 3072], 6144],
    [[12, 64, 768], 768],
    [[768, 12, 64], 768],
    [[2, 8, 64, 96], 1024],
    // at the edge: 68 against 32 and 32, 18 against 10 (not half of it)
    [[4, 4, 4, 4], 16],
    [[1, 3, 5], 3], // 16 against 8
    [[2, 4, 4], 2],
    [[4, 2, 4, 2], 4],
    [[1, 512, 768], 512],
    [[1, 9], 1],
    [[9, 1, 1], 9],
    [[7], 7],
    [[], 1],
  ]
  for (const [shape, rows] of views) {
    assert.is(plan([shape]).parameters[0]!.rows, rows, `[${shape}]`)
    for (const method of [paper(), epfml(), pytorch()]) {
      assert.is(plan([shape], { method }).parameters[0]!.rows, shape[0] ?? 1, `[${shape}]`)
    }
  }
  assert.ok(plan([[3, 3, 64, 128]]).ratio > 26)
  assert.ok(plan([[8, 768, 3072]]).ratio > 500)
})

test('rows are a product of leading axes; those of a vector, any divisor', () => {
  const rows = (shape: number[], rows: number) => plan([{ shape, rows }]).parameters[0]!.rows
  for (const fits of [1, 3, 9, 576, 73728]) assert.is(rows([3, 3, 64, 128], fits), fits)
  assert.is(rows([12], 3), 3)
  for (const wrong of [128, 64, 2]) {
    assert.throws(
      () => rows([3, 3, 64, 128], wrong),
      /"shapes\[0\]\.rows": .*\(1, 3, 9, 576, 73728\)/,
    )
  }
  assert.throws(() => rows([4, 6], 8), /"shapes\[0\]\.rows": .*\(1, 4, 24\), got 8/)
  assert.throws(() => rows([12], 5), /divisor of 12, got 5/)
})

test('why says how each parameter is seen, and why it travels as it does', () => {
  const why = (spec: ParameterSpec, options: Options = {}) => {
    const [parameter] = plan([spec], options).parameters
    return parameter!.why
  }
  const conv = [3, 3, 64, 128]
  for (const [spec, options, want] of [
    [[256, 512], {}, '256 × 512, rank 4: 3072 floats instead of 131072'],
    [[64, 3, 7, 7], {}, '64 × (3·7·7), rank 4: 844 floats instead of 9408'],
    [
      conv,
      { rank: 2 },
      /^\(3·3·64\) × 128, rank 2, which its 9 parts of 64 × 128 share: 1408 floats/,
    ],
    [
      [8, 768, 3072],
      {},
      /^\(8·768\) × 3072, rank 4, which its 8 parts of 768 × 3072 share: 36864 /,
    ],
    [[1, 512, 768], {}, /^\(1·512\) × 768, rank 4: /],
    [[256, 512], { iterations: 2 }, /: 6144 floats/],
    [[256, 512], { method: halfSteps() }, /: 1536 floats/],
    [[256, 512], { startCompressingAfter: 9 }, /, raw before step 9 \(startCompressingAfter\)$/],
    [{ shape: [5, 4], compress: true }, {}, /rank 4: 36 floats instead of 20, because compress is/],
    [{ shape: [12], rows: 3, compress: true }, {}, /^\[12\] laid out as 3 × 4, rank 3/],
    [{ shape: [9, 9], rank: 'frozen' }, {}, '9 × 9, frozen: does not travel'],
    [{ shape: [90, 90], compress: false }, {}, '90 × 90, raw: compress is false'],
    [[7], {}, '7 × 1, raw: a vector, unless compress is true'],
    [[], {}, '1 × 1, raw: a scalar, unless compress is true'],
    [[1, 9], {}, '1 × 9, raw: a single row, unless compress is true'],
    [[9, 1], {}, '9 × 1, raw: a single column, unless compress is true'],
    [
      [20, 20],
      { rank: 5 },
      /raw: at rank 5 200 floats × 2 \(minCompressionRate\) are not fewer than 400,/,
    ],
    [{ shape: [20, 20], rank: 9 }, {}, /raw: at rank 9 360 floats/],
    [[3, 50], { rank: 9 }, /raw: at rank 3 159 floats × 2/],
    [[256, 512], { method: topK({ ratio: 0.1 }) }, '256 × 512, raw: topK has no factors'],
    [[256, 512], { method: uncompressed() }, '256 × 512, raw: uncompressed has no factors'],
    [[7], { method: pytorch() }, /^7 × 1, raw: at rank 1 8 floats × 2/],
    [[1, 9], { method: paper() }, /^1 × 9, rank 1: 10 floats/],
    [[7], { method: paper() }, /raw: a vector/],
    [[4, 3], { method: epfml(), rank: 1 }, /^4 × 3, rank 1: 3.5 floats/],
    [[4, 3], { method: epfml(), rank: 3 }, /^4 × 3, raw: at rank 3 10.5 floats/],
    [[20, 20], { method: accordion({ low: 1, high: 7, window: 2 }) }, /raw: at rank 7 280 floats/],
    [[20, 20], { method: byEnergy({ least: 6, most: 7, every: 2 }) }, /raw: at rank 6 240 floats/],
    [[20, 20], { method: dad({ samples: 10 }) }, /raw: at rank 10 400 floats × 1/],
    [[20, 20], { method: dad({ samples: [11] }) }, /raw: at rank 11 440 floats × 1/],
  ] as [ParameterSpec, Options, string | RegExp][]) {
    const got = why(spec, options)
    if (typeof want === 'string') assert.is(got, want)
    else assert.match(got, want)
  }
})

test('frozen parameters count for nothing, also in denseFloats', () => {
  const { parameters, denseFloats, floats } = plan([{ shape: [90, 90], rank: 'frozen' }, [5]])
  assert.equal(
    parameters.map(({ rank }) => rank),
    ['frozen', 0],
  )
  assert.equal([denseFloats, floats], [5, 5])
})

const MIXED: Shapes = [[12, 70], [5], [9, 4, 5], [130]]

for (const wire of ['f32', 'f16', 'bf16', 'int8'] as readonly Wire[]) {
  for (const iterations of [1, 2]) {
    test(`bytes are those of real frames and means: ${wire}, iterations ${iterations}`, async () => {
      const options: Options = { rank: 3, minCompressionRate: 0, iterations, wire }
      const want = plan(MIXED, options)
      for (const workers of [1, 3]) {
        const fleet = await createFleet(MIXED, workers, options)
        const { frames, means } = await stepTogether(
          fleet,
          fleet.map((_, i) => gradientsOf(MIXED, i + 1)),
        )
        assert.is(want.rounds, frames.length)
        for (const [i, worker] of fleet.entries()) {
          assert.is(total(frames.map((round) => round[i]!)), want.bytes)
          assert.is(worker.stats.bytesSent, want.bytes)
          assert.is(worker.stats.bytesReceived, want.received(workers).bytes)
        }
        assert.is(total(means), want.received(workers).bytes)
        assert.is(want.received(workers).floats, want.floats)
      }
    })
  }
}

test('nothing to compress: one round, and every float', async () => {
  const shapes = [[5], [2, 2]]
  const got = plan(shapes)
  assert.equal([got.rounds, got.floats, got.denseFloats, got.ratio], [1, 9, 9, 1])
  const worker = await createCompressor(shapes)
  const frame = await worker.compress(gradientsOf(shapes, 1))
  assert.is(frame.length, got.bytes)
  assert.is(aggregate([frame]).length, got.received(1).bytes)
})

test('bad arguments are refused by name', () => {
  for (const [call, kind, message] of [
    [() => plan([[0]]), RangeError, /"shapes\[0\]"/],
    [() => plan([[2]], { rank: 0 }), RangeError, /"rank"/],
    [() => plan([[2]]).received(0), RangeError, /"workers": .*got 0/],
    [() => plan([[2]]).received('2' as never), TypeError, /"workers"/],
  ] as const) {
    assert.throws(call, (error: Error) => error instanceof kind && message.test(error.message))
  }
})

function total(frames: readonly Uint8Array[]): number {
  return frames.reduce((sum, { length }) => sum + length, 0)
}

test.run()
