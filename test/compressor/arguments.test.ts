// The facade refuses every bad argument by its name, before anything changes.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createGossip } from '../../src/gossip.ts'
import { createCompressor, type Options, plan } from '../../src/index.ts'
import { sameBytes } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { exchange, stepTogether } from '../support/fleet.ts'
import { gradientsOf } from '../support/numbers.ts'

const test = suite('arguments')

const SHAPES = [[6, 8], [5], [3, 4, 2]]
const OPTIONS: Options = { rank: 2, minCompressionRate: 0 }
const make = (options: Options = {}) => createCompressor(SHAPES, { ...OPTIONS, ...options })
const gradients = (seed = 1) => gradientsOf(SHAPES, seed)
const zeros = () => gradients().map(({ length }) => new Float32Array(length))

type Refusal = [what: string, call: () => unknown, kind: ErrorConstructor, message: RegExp]

async function refuses(
  refusals: readonly Refusal[],
  after: (what: string) => Promise<void> = async () => {},
): Promise<void> {
  for (const [what, call, kind, message] of refusals) {
    const error = await errorOf(call)
    assert.instance(error, kind, `${what}: ${error}`)
    assert.match(error.message, message, what)
    await after(what)
  }
}

test('createCompressor refuses bad shapes and options by name', async () => {
  const shaped = (shapes: unknown) => () => createCompressor(shapes as number[][])
  const with_ = (options: unknown) => () => createCompressor([[2, 2]], options as Options)
  const refusals: Refusal[] = [
    ['no array', shaped('shapes'), TypeError, /"shapes": .*got "shapes"/],
    ['no shape', shaped([]), RangeError, /"shapes": expected at least one/],
    ['null', shaped([[2], null]), TypeError, /"shapes\[1\]": .*got null/],
    ['no numbers', shaped([['2']]), TypeError, /"shapes\[0\]": .*got "2"/],
    ['zero', shaped([[2], [3, 0]]), RangeError, /"shapes\[1\]": .*got 0/],
    ['fraction', shaped([[1.5]]), RangeError, /"shapes\[0\]": .*got 1.5/],
    ['too many', shaped([[2 ** 33]]), RangeError, /"shapes\[0\]"/],
    ['no shape in it', shaped([{ rank: 1 }]), TypeError, /"shapes\[0\]\.shape"/],
    ['rows', shaped([{ shape: [6], rows: 4 }]), RangeError, /"shapes\[0\]\.rows": .*6, got 4/],
    ['own rank', shaped([{ shape: [6, 6], rank: 0 }]), RangeError, /"shapes\[0\]\.rank": .*got 0/],
    ['compress', shaped([{ shape: [6], compress: 1 }]), TypeError, /"shapes\[0\]\.compress"/],
    ['too large for wasm', shaped([[40000, 40000]]), RangeError, /"shapes": .*4 GiB/],
    ['options', with_(3), TypeError, /"options": .*got 3/],
    ['unknown', with_({ ranks: 3 }), TypeError, /"ranks": no such option/],
    ['rank', with_({ rank: 0 }), RangeError, /"rank": .*got 0/],
    ['rank', with_({ rank: '4' }), TypeError, /"rank": .*got "4"/],
    ['seed', with_({ seed: -1 }), RangeError, /"seed": .*got -1/],
    ['iterations', with_({ iterations: 0.5 }), RangeError, /"iterations": .*got 0.5/],
    ['rate', with_({ minCompressionRate: -1 }), RangeError, /"minCompressionRate": .*got -1/],
    ['rate', with_({ minCompressionRate: NaN }), RangeError, /"minCompressionRate": .*got NaN/],
    ['start', with_({ startCompressingAfter: 1.5 }), RangeError, /"startCompressingAfter"/],
    ['warm', with_({ warmStart: 'hot' }), RangeError, /"warmStart": .*got "hot"/],
    ['feedback', with_({ errorFeedback: true }), RangeError, /"errorFeedback": .*got true/],
    ['wire', with_({ wire: 'f64' }), RangeError, /"wire": .*got "f64"/],
    ['sender', with_({ sender: 2 ** 32 }), RangeError, /"sender": .*got 4294967296/],
    ['restore', with_({ restore: 'file' }), TypeError, /"restore": .*got "file"/],
    ['restore', with_({ restore: new Uint8Array(3) }), RangeError, /./],
  ]
  await refuses(refusals)
})

test('bad arguments of calls are refused by name, and nothing changes', async () => {
  const worker = await make()
  await stepTogether([worker], [gradients()])
  const before = await worker.save()
  const any = (value: unknown) => value as never
  const with_ = (i: number, array: unknown) =>
    gradients().map((own, k) => (k === i ? any(array) : own)) as Float32Array[]
  const wrong = with_(1, new Float32Array(4))
  const idle: Refusal[] = [
    ['no array', () => worker.compress(any(5)), TypeError, /"gradients": .*got 5/],
    ['undefined', () => worker.compress(any(undefined)), TypeError, /"gradients": .*undefined/],
    ['too few', () => worker.compress(gradients().slice(1)), RangeError, /"gradients": .*3.*got 2/],
    ['length', () => worker.compress(wrong), RangeError, /"gradients\[1\]": .*5.*\[5\].*got 4/],
    [
      'float64',
      () => worker.compress(with_(2, new Float64Array(24))),
      TypeError,
      /"gradients\[2\]": .*got Float64Array/,
    ],
    [
      'weight',
      () => worker.compress(gradients(), { weight: -1 }),
      RangeError,
      /"weight": .*got -1/,
    ],
    ['weight', () => worker.compress(gradients(), { weight: NaN }), RangeError, /"weight": .*NaN/],
    [
      'weight',
      () => worker.compress(gradients(), { weight: 1e39 }),
      RangeError,
      /"weight": .*1e\+39/,
    ],
    [
      'weight',
      () => worker.compress(gradients(), { weight: 1e-50 }),
      RangeError,
      /"weight": .*1e-50/,
    ],
    ['weight', () => worker.compress(null, { weight: any('1') }), RangeError, /"weight": .*"1"/],
    [
      'into',
      () => worker.step(gradients(), (frame) => frame, { into: wrong }),
      RangeError,
      /"into\[1\]"/,
    ],
    ['rank', () => worker.setRank(0), RangeError, /"rank": .*got 0/],
    ['rank', () => worker.setRank(1.5), RangeError, /"rank": .*got 1.5/],
    ['ranks', () => worker.setRank([1, 2]), RangeError, /"rank": .*3 of them.*of 2/],
    ['ranks', () => worker.setRank([1, 2, -1]), RangeError, /"rank\[2\]": .*got -1/],
    ['ranks', () => worker.setRank(any('2')), RangeError, /"rank": .*got "2"/],
    ['factor', () => worker.rescaleResidual(Infinity), RangeError, /"factor": .*got Infinity/],
    ['factor', () => worker.rescaleResidual(1e39), RangeError, /"factor": .*got 1e\+39/],
    ['factor', () => worker.rescaleResidual(any('2')), TypeError, /"factor": .*got "2"/],
    ['join', () => worker.join(any({})), TypeError, /"checkpoint": .*got Object/],
    ['adopt', () => worker.adopt(new Uint8Array(9)), RangeError, /./],
  ]
  const stats = worker.stats
  await refuses(idle, async (what) => {
    assert.equal(worker.stats, stats, what)
    sameBytes(await worker.save(), before, `state after a bad ${what}`)
  })
  await exchange([worker], [gradients()])
  const received: Refusal[] = [
    ['into', () => worker.decompress(wrong), RangeError, /"into\[1\]"/],
    ['into', () => worker.decompress(any(undefined)), TypeError, /"into"/],
    ['scale', () => worker.decompress(null, { scale: NaN }), RangeError, /"scale": .*got NaN/],
    ['scale', () => worker.decompress(null, { scale: 1e39 }), RangeError, /"scale": .*got 1e\+39/],
  ]
  await refuses(received)
  assert.ok((await worker.decompress(zeros())).counted)
})

test('an exchange that returns no bytes is named, and the step stays open for the mean', async () => {
  const worker = await make()
  for (const wrong of [undefined, null, 'AAAA', [new Uint8Array(9)]]) {
    const error = await errorOf(() => worker.step(gradients(), async () => wrong as never))
    assert.instance(error, TypeError)
    assert.match(error.message, /^"exchange": expected it to return the mean's bytes, got /)
    assert.is(worker.stats.round, 0)
    worker.abort()
  }
  assert.ok((await worker.step(gradients(), (frame) => frame)).counted)
})

test('a model that no memory holds is refused before anything is drawn', async () => {
  const random = () => {
    throw new Error('drawn')
  }
  for (const shape of [[1e6, 1e6], [2 ** 32 - 1], [2 ** 31, 8]]) {
    const options = { random, minCompressionRate: 0 }
    const errors = [
      await errorOf(() => createCompressor([shape], options)),
      await errorOf(() => createGossip([shape], { self: 0, neighbours: { 1: 0.5 }, random })),
    ]
    for (const error of errors) {
      assert.instance(error, RangeError)
      assert.match(error.message, /^"shapes": .* more than the 4 GiB of one WebAssembly memory/)
    }
    assert.ok(plan([shape]).bytes > 0)
  }
  assert.throws(() => plan([[2 ** 32, 2 ** 32]]), /"shapes": expected at most 2\^53 elements/)
  assert.throws(() => plan([[2 ** 32, 2 ** 20], [2 ** 32, 2 ** 20], [7]]), /2\^53/)
})

test.run()
