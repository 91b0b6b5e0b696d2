// Calls with and without await, `step`, the options of `decompress`; frames and means are the
// caller's.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  aggregate,
  createCompressor,
  type Options,
  UnsupportedError,
  wasm,
} from '../../src/index.ts'
import { sameBytes, sameFloats, UNIT, within } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { exchange, residualsOf, stepTogether } from '../support/fleet.ts'
import { gradientsOf } from '../support/numbers.ts'
import { slowBackend } from '../support/slow-backend.ts'

const test = suite('call variants')

const SHAPES = [[6, 8], [5], [3, 4, 2]]
const OPTIONS: Options = { rank: 2, minCompressionRate: 0 }
const make = (options: Options = {}) => createCompressor(SHAPES, { ...OPTIONS, ...options })
const gradients = (seed = 1) => gradientsOf(SHAPES, seed)
const zeros = () => gradients().map(({ length }) => new Float32Array(length))

test('the synchronous calls give the same bytes', async () => {
  const [one, two] = [await make({ wire: 'f16' }), await make({ wire: 'f16' })]
  for (let step = 0; step < 3; step++) {
    let a: Uint8Array | null = await one.compress(gradients(step + 1), { weight: 3 })
    let b: Uint8Array | null = two.compressSync(gradients(step + 1), { weight: 3 })
    while (a && b) {
      sameBytes(b, a, 'frame')
      const mean = aggregate([a])
      a = await one.receive(mean)
      b = two.receiveSync(mean)
    }
    const [x, y] = [zeros(), zeros()]
    assert.equal(two.decompressSync(y), await one.decompress(x))
    for (const [i, want] of x.entries()) sameFloats(y[i]!, want, 'update')
  }
  sameBytes(await two.save(), await one.save(), 'state')
})

test('step is the loop, over the gradients or elsewhere', async () => {
  const [loop, one, two] = [await make(), await make(), await make()]
  const want = (await stepTogether([loop], [gradients()], [2])).updates[0]!
  const exchange = (frame: Uint8Array) => aggregate([frame])
  const g = gradients()
  const outcome = await one.step(g, async (frame) => exchange(frame), { weight: 2 })
  assert.equal(outcome, { counted: true, senders: [0], weight: 2, refused: [] })
  for (const [i, update] of want.entries()) sameFloats(g[i]!, update, 'update')
  const into = zeros()
  const kept = gradients()
  await two.step(kept, exchange, { weight: 2, into, scale: -0.5, accumulate: true })
  for (const [i, update] of want.entries()) {
    sameFloats(
      into[i]!,
      update.map((x) => -0.5 * x),
      'update',
    )
    sameFloats(kept[i]!, gradients()[i]!, 'gradient')
  }
})

test('an exchange that fails leaves the step open, to go on with or to abort', async () => {
  const fail = () => Promise.reject(new Error('the line is dead'))
  const [late, given, plain] = [await make(), await make(), await make()]
  let sent: Uint8Array | undefined
  const error = await errorOf(() =>
    late.step(gradients(), (frame) => {
      sent = frame
      return fail()
    }),
  )
  assert.is(error.message, 'the line is dead')
  assert.is(late.stats.round, 0)
  const next = await late.receive(aggregate([sent!]))
  assert.is(await late.receive(aggregate([next!])), null)
  await late.decompress(null)
  await stepTogether([plain], [gradients()])
  sameBytes(await late.save(), await plain.save(), 'state')

  await errorOf(() => given.step(gradients(), fail))
  given.abort()
  for (const [i, e] of (await residualsOf(given)).entries()) {
    sameFloats(e, gradients()[i]!, 'residual of an aborted step')
  }
  assert.equal([given.stats.step, given.stats.aborted], [1, 1])
})

test('decompress writes, scales, adds, or does without', async () => {
  const workers = await Promise.all([make(), make(), make(), make()])
  const plain = (await stepTogether([workers[0]!], [gradients()])).updates[0]!
  const start = gradients(9)
  const intos = [zeros(), gradients(9), null]
  const ways = [{ scale: -3 }, { scale: 0.1, accumulate: true }, {}]
  for (const [i, way] of ways.entries()) {
    const worker = workers[i + 1]!
    await exchange([worker], [gradients()])
    assert.ok(worker.updateNorm! > 0)
    const outcome = await worker.decompress(intos[i]!, way)
    assert.equal(outcome, { counted: true, senders: [0], weight: 1, refused: [] })
    for (const [p, e] of (await residualsOf(workers[0]!)).entries()) {
      sameFloats((await residualsOf(worker))[p]!, e, 'residual')
    }
  }
  for (const [p, update] of plain.entries()) {
    const size = (j: number) => 3 * Math.abs(update[j]!) + Math.abs(start[p]![j]!)
    // The update before and after scaling is rounded 2r + 2 times at most, from Σ|p||q| ≤ 8.
    const bound = (j: number) => 6 * UNIT * (size(j) + 8)
    within(
      intos[0]![p]!,
      update.map((x) => -3 * x),
      bound,
      'scaled',
    )
    within(
      intos[1]![p]!,
      update.map((x, j) => start[p]![j]! + 0.1 * x),
      bound,
      'added',
    )
  }
})

test('updateNorm is there from the last mean to the next step', async () => {
  const worker = await make()
  assert.is(worker.updateNorm, null)
  const { updates } = await stepTogether([worker], [gradients()])
  const norm = Math.hypot(...updates[0]!.flatMap((x) => [...x]))
  assert.ok(Math.abs(worker.updateNorm! - norm) <= 1e-6 * norm)
  await worker.compress(gradients(2))
  assert.is(worker.updateNorm, null)
})

test('the caller may use its frames and means as it likes', async () => {
  const [worker, plain] = [await make(), await make()]
  const frame = await worker.compress(gradients())
  const mean = aggregate([frame])
  frame.fill(7)
  // A mean may have any alignment, and may be overwritten after `receive`.
  const odd = new Uint8Array(mean.length + 3).subarray(3)
  odd.set(mean)
  const second = await worker.receive(odd)
  odd.fill(7)
  const last = aggregate([second!])
  second!.fill(7)
  await worker.receive(last)
  const into = zeros()
  await worker.decompress(into)
  const { updates } = await stepTogether([plain], [gradients()])
  for (const [i, want] of updates[0]!.entries()) sameFloats(into[i]!, want, 'update')
})

test('a backend that takes its time gives the same bytes', async () => {
  const [fast, slow] = [await make(), await make({ backend: slowBackend() })]
  for (let step = 0; step < 2; step++) {
    const a = await stepTogether([fast], [gradients(step)])
    const b = await stepTogether([slow], [gradients(step)])
    for (const [i, [frame]] of a.frames.entries()) sameBytes(b.frames[i]![0]!, frame!, 'frame')
    for (const [i, want] of a.updates[0]!.entries()) sameFloats(b.updates[0]![i]!, want, 'update')
  }
  sameBytes(await slow.save(), await fast.save(), 'state')
})

test('synchronous calls need a backend that is synchronous', async () => {
  const worker = await make({ backend: slowBackend() })
  const before = await worker.save()
  assert.instance(await errorOf(() => worker.compressSync(gradients())), UnsupportedError)
  sameBytes(await worker.save(), before, 'state')
  const frame = await worker.compress(gradients())
  const mean = aggregate([frame])
  const stats = worker.stats
  assert.instance(await errorOf(() => worker.receiveSync(mean)), UnsupportedError)
  assert.equal(worker.stats, stats)
  const next = aggregate([(await worker.receive(mean))!])
  await worker.receive(next)
  assert.instance(await errorOf(() => worker.decompressSync(null)), UnsupportedError)
  assert.ok((await worker.decompress(null)).counted)
})

test('two compressors on one backend do not meet', async () => {
  const backend = wasm()
  const [a, b] = [await make({ backend }), await make({ backend, seed: 5 })]
  const [c, d] = [await make(), await make({ seed: 5 })]
  for (let step = 0; step < 2; step++) {
    const [x, y] = [await a.compress(gradients(1)), await b.compress(gradients(2))]
    sameBytes(x, await c.compress(gradients(1)), 'frame')
    sameBytes(y, await d.compress(gradients(2)), 'frame')
    for (const worker of [a, b, c, d]) worker.abort()
  }
  a.dispose()
  await b.compress(gradients())
})

test.run()
