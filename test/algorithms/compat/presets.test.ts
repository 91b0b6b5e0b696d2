// Methods that reproduce other programs: all workers must share their defaults.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { aggregate, createCompressor, FrameError, type Options, plan } from '../../../src/index.ts'
import { paper } from '../../../src/methods.ts'
import { errorOf } from '../../support/errors.ts'
import { stepTogether } from '../../support/fleet.ts'
import { open } from '../../support/frames.ts'
import { ALL } from '../../support/norms.ts'
import { gradientsOf } from '../../support/numbers.ts'
import { readState } from '../../support/safetensors.ts'

const SHAPES = [[6, 8], [1, 9], [7, 1], [5], { shape: [3, 4], compress: false }]

const test = suite('other programs')

test("'paper' compresses whatever has more than one dimension", () => {
  const ranks = (options: Options) => plan(SHAPES, options).parameters.map(({ rank }) => rank)
  assert.equal(ranks({ method: paper() }), [4, 1, 1, 0, 0])
  assert.equal(ranks(ALL), [4, 0, 0, 0, 0])
})

test('options beside a method override its own defaults; undefined ones do not', async () => {
  const kept = async (options: Options) => {
    const worker = await createCompressor([[6, 8]], options)
    return JSON.parse(readState(await worker.save()).metadata.options!)
  }
  const written = await kept({ method: paper() })
  const { errorFeedback, minCompressionRate, method } = written
  assert.equal(
    { errorFeedback, minCompressionRate, method },
    { errorFeedback: 'aggregated', minCompressionRate: '0', method: 'paper' },
  )
  const other = await kept({ method: paper(), errorFeedback: 'local', warmStart: false })
  assert.equal(other, { ...written, errorFeedback: 'local', warmStart: 'false' })
  assert.equal(await kept({ method: paper(), errorFeedback: undefined as never }), written)
  assert.not.ok('method' in (await kept({})), 'the usual one goes without saying')
})

test('workers whose methods or options differ are refused', async () => {
  const shapes = [[6, 8]]
  const frame = async (options: Options, sender: number) => {
    const worker = await createCompressor(shapes, { rank: 2, ...options, sender })
    return worker.compressSync(gradientsOf(shapes, sender))
  }
  const first = await frame({ method: paper() }, 0)
  const alike: Options = { method: paper(), errorFeedback: 'aggregated', minCompressionRate: 0 }
  assert.is(open(aggregate([first, await frame(alike, 1)])).weight, 2)
  for (const unlike of [
    { errorFeedback: 'aggregated', minCompressionRate: 0 },
    { method: paper(), errorFeedback: 'local' },
  ] satisfies Options[]) {
    const other = await frame(unlike, 1)
    assert.instance(await errorOf(() => aggregate([first, other])), FrameError)
  }
})

test('what is no method is refused, and options that one has no use for', () => {
  for (const method of ['paper', null, 3, paper, {}]) {
    const options = { method } as unknown as Options
    assert.throws(() => plan([[6, 8]], options), /^"method": expected a method, .* got /)
  }
  const both: Options = { method: paper(), orthonormalize: 'device' }
  assert.throws(() => plan([[6, 8]], both), '"orthonormalize": the method paper has no use for it')
  assert.throws(() => plan([[6, 8]], { preset: 'paper' } as Options), '"preset": no such option')
})

test("'paper': a first round in which no gradient arrived does not end the matrices", async () => {
  const shapes = [[6, 8]]
  const make = (sender: number) => createCompressor(shapes, { method: paper(), rank: 2, sender })
  const [present, absent] = [await make(0), await make(1)]
  await present.compress(gradientsOf(shapes, 1))
  const empty = aggregate([await absent.compress(null)])
  const frames = [await present.receive(empty), await absent.receive(empty)] as Uint8Array[]
  const mean = aggregate(frames)
  assert.is(open(mean).weight, 1)
  for (const worker of [present, absent]) {
    assert.is(await worker.receive(mean), null)
    assert.ok((await worker.decompress(null)).weight > 0)
    assert.ok(worker.updateNorm! > 0)
  }
  const { means } = await stepTogether([present, absent], [gradientsOf(shapes, 2), null])
  assert.ok(open(means[0]!).floats.some((x) => x !== 0))
})

test("'paper': products that overflow make a worker absent, and the update zero", async () => {
  const shapes = [[6, 8]]
  const worker = await createCompressor(shapes, { method: paper(), rank: 1 })
  const huge = () => gradientsOf(shapes, 1, 2 ** 40)
  await stepTogether([worker], [huge()])
  // The query is now about as large as the gradient, and P about as large as its square.
  const { outcomes, updates } = await stepTogether([worker], [huge()])
  assert.equal(outcomes[0], { counted: false, senders: [], weight: 0, refused: [] })
  assert.ok(updates[0]![0]!.every((x) => x === 0))
  assert.is(worker.stats.absent.factors, 1)
})

test.run()
