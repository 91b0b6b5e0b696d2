import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { aggregate } from '../../src/codec/aggregate.ts'
import { fromPayload, payload } from '../../src/codec/allreduce.ts'

import { decodeFrame } from '../../src/codec/frame.ts'
import { wireType } from '../../src/codec/wire/index.ts'
import { UnsupportedError } from '../../src/errors.ts'
import { frameOf, gatheredOf, partOf, refuses } from '../support/bytes.ts'
import { gamma, same, within } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const test = suite('payload')

function valuesOf(bytes: Uint8Array): Float32Array {
  const frame = decodeFrame(bytes)
  const values = new Float32Array(frame.count)
  wireType(frame.type).decode(frame.values, frame.count, values)
  return values
}

/** A sum in float32 in some order, as engines make it. */
function allReduce(payloads: readonly Float32Array[], average = false): Float32Array {
  const sum = new Float32Array(payloads[0]!.length)
  for (const own of payloads) for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + own[i]!
  return average ? sum.map((x) => x / payloads.length) : sum
}

test('is values and scalars times weight, the weight, and a control word', () => {
  const floats = payload(frameOf([1, -2, 3], { weight: 2.5, scalars: [4] }))
  same(floats.subarray(0, 5), [2.5, -5, 7.5, 10, 2.5])
  assert.is(floats.length, 6)
  const word = floats[5]!
  assert.ok(Number.isInteger(word) && word >= 1 && word <= 4095)
  const nobody = payload(frameOf([0, 0, 0], { weight: 0, scalars: [0] }))
  same(nobody, [0, 0, 0, 0, 0, word])
})

test('the control word is a matter of step, round, configHash and parent only', () => {
  const wordOf = (wishes: object) => payload(frameOf([1], wishes)).at(-1)
  const usual = wordOf({})
  const bytes = new Uint8Array(8)
  for (const wishes of [{ step: 8 }, { round: 0 }, { configHash: bytes }, { parent: bytes }]) {
    assert.is.not(wordOf(wishes), usual, JSON.stringify(wishes))
  }
  assert.is(wordOf({ senders: [9], weight: 3, ranks: [7], scalars: [1] }), usual)
})

for (const average of [false, true]) {
  test(`gives the mean that aggregate gives, from ${average ? 'an average' : 'a sum'}`, () => {
    // 8 workers: an average is exact in its control word, as is one of any power of two.
    const frames = Array.from({ length: 8 }, (_, sender) =>
      sender === 3
        ? frameOf(new Float32Array(500), { weight: 0, scalars: [0] })
        : frameOf(gaussian(500, sender), {
            senders: [sender],
            weight: sender + 1,
            scalars: [sender],
          }),
    )
    const sum = allReduce(frames.map(payload), average)
    const mean = decodeFrame(fromPayload(sum, frames[2]!, 8))
    const want = decodeFrame(aggregate(frames))
    assert.is(mean.weight, want.weight)
    assert.is(mean.senders.length, 0)
    assert.is(mean.step, 7)
    same(mean.parent, want.parent)
    within(mean.scalars, want.scalars, (i) => gamma(10) * want.scalars[i]!)
    const all = frames.map(valuesOf)
    const weights = frames.map((bytes) => decodeFrame(bytes).weight)
    const sizes = all[0]!.map((_, i) =>
      all.reduce((size, values, w) => size + (weights[w]! / mean.weight) * Math.abs(values[i]!), 0),
    )
    // Roundings: a product, 8 sums, two divisions, and the other mean's.
    within(valuesOf(mean.bytes), valuesOf(want.bytes), (i) => gamma(12) * sizes[i]!)
  })
}

test('control words of up to 4096 workers add up exactly', () => {
  for (const workers of [1, 2, 3, 1000, 4095, 4096]) {
    // Steps differ in their words: small ones and large ones.
    for (let step = 0; step < 20; step++) {
      const own = frameOf([3], { step })
      const one = payload(own)
      const sum = allReduce(Array.from({ length: workers }, () => one))
      const mean = decodeFrame(fromPayload(sum, own, workers))
      assert.is(mean.weight, workers)
      same(valuesOf(mean.bytes), [3])
    }
  }
})

test('a worker at another step is found', () => {
  const own = frameOf([1, 2])
  for (const workers of [2, 3, 100, 4096]) {
    const payloads = Array.from({ length: workers }, () => payload(own))
    payloads[1] = payload(frameOf([1, 2], { step: 6 }))
    refuses(() => fromPayload(allReduce(payloads), own, workers), 12, /control word: expected/)
  }
  // A payload that is missing, or summed twice.
  const both = allReduce([payload(own), payload(own), payload(own)])
  refuses(() => fromPayload(both, own, 2), 12, /control word/)
})

test('weight 0 gives a mean of zeros', () => {
  const nobody = frameOf([0, 0], { weight: 0, scalars: [0] })
  const mean = fromPayload(allReduce([payload(nobody), payload(nobody)]), nobody, 2)
  same(mean, nobody)
})

test('refuses sums that are not finite, and arguments out of range', () => {
  const own = frameOf([1, 2], { scalars: [3] })
  const good = payload(own)
  const spoilt = (i: number, value: number) => good.map((x, k) => (k === i ? value : x))
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
    refuses(() => fromPayload(spoilt(0, bad), own, 1), 0, /value 0/)
    refuses(() => fromPayload(spoilt(2, bad), own, 1), 8, /value 2/)
    refuses(() => fromPayload(spoilt(3, bad), own, 1), 12, /weight/)
    refuses(() => fromPayload(spoilt(4, bad), own, 1), 16, /control word/)
  }
  refuses(() => fromPayload(spoilt(3, -1), own, 1), 12, /weight: expected a finite number ≥ 0/)
  // A quotient that overflows.
  const tiny = Float32Array.of(0, 1e38, 0, 2 ** -149, good[4]!)
  refuses(() => fromPayload(tiny, own, 1), 4, /value 1/)
  for (const workers of [0, -1, 4097, 1.5, Number.NaN]) {
    assert.throws(
      () => fromPayload(good, own, workers),
      /"workers": expected an integer from 1 to 4096/,
    )
  }
  assert.throws(() => fromPayload(good.subarray(1), own, 1), /"sum": expected 5 floats, got 4/)
})

test('needs f32 frames of summed values', () => {
  for (const frame of [frameOf([1], { type: 'f16' }), gatheredOf([partOf(0, 1, [1])])]) {
    assert.throws(
      () => payload(frame),
      (error: Error) => error instanceof UnsupportedError,
    )
    assert.throws(
      () => fromPayload(new Float32Array(3), frame, 1),
      (error: Error) => error instanceof UnsupportedError,
    )
  }
})

test.run()
