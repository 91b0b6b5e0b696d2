// The bounds of what one frame can do: values below 2⁶⁴, and time and memory in proportion to bytes.
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { aggregate, createAggregate } from '../../src/codec/aggregate.ts'
import { fromPayload, payload } from '../../src/codec/allreduce.ts'
import { decodeFrame } from '../../src/codec/frame.ts'
import { partsOf } from '../../src/codec/gathered.ts'
import { inspect } from '../../src/codec/inspect.ts'
import { joinSlices, splitFrame } from '../../src/codec/slices.ts'
import {
  bytesOf,
  frameOf,
  gatheredOf,
  partOf,
  refuses,
  shuffled,
  spoil,
  wordPartOf,
} from '../support/bytes.ts'
import { same } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const test = suite('limits')

/** The largest float32 below 2⁶⁴. */
const MOST = 2 ** 64 - 2 ** 40

/** Encodings of a value that is not below 2⁶⁴, with the offset of the value or its scale. */
const TOO_LARGE = [
  ['f32', bytesOf('f32', 2 ** 64), (i: number) => 4 * i],
  ['f32', bytesOf('f32', -(2 ** 127)), (i: number) => 4 * i],
  ['bf16', bytesOf('u16', 0x5f80), (i: number) => 2 * i],
  ['int8', bytesOf('f32', 2 ** 57), (i: number) => 69 * Math.floor(i / 64) + 1],
] as const

test('every frame is checked, whatever the others add, and its sender is named', () => {
  const count = 5000
  for (const [type, bytes, offset] of TOO_LARGE) {
    for (const weight of [1, 2 ** -61, 2 ** -63, 2 ** -149, 2 ** 127]) {
      const frames = [3, 5, 7, 9, 11].map((sender) =>
        frameOf(gaussian(count, sender), { type, senders: [sender], weight: sender }),
      )
      const light = frameOf(gaussian(count, 1), { type, senders: [7], weight })
      const { valuesAt } = decodeFrame(light)
      for (const i of [0, 2047, 2048, 4999]) {
        const at = valuesAt + offset(i)
        const bad = spoil(light, at, bytes)
        for (const several of [[bad], frames.map((frame, k) => (k === 2 ? bad : frame))]) {
          refuses(() => aggregate(several), at, /not below 2⁶⁴, from sender 7/, `${type} ${weight}`)
        }
        const server = createAggregate()
        server.add(frames[0]!)
        refuses(() => server.add(bad), at, /from sender 7/)
        assert.equal(server.senders, [3])
      }
    }
  }
})

test('values just below the limit are averaged exactly, with any weights', () => {
  for (const weight of [1, 2 ** -62, 2 ** -63, 2 ** -149, 2 ** 127]) {
    const frames = [0, 1, 2, 3, 4].map((sender) =>
      frameOf([MOST, -MOST, 2 ** -149, -0], { senders: [sender], weight }),
    )
    const mean = decodeFrame(aggregate(frames))
    same(new Float32Array(mean.values.slice().buffer), [MOST, -MOST, 2 ** -149, -0])
  }
})

test('scalars are bounded alike, and the sender is named', () => {
  const frame = frameOf([1], { senders: [8], scalars: [1, MOST] })
  decodeFrame(frame)
  for (const scalar of [2 ** 64, -3e38]) {
    const bad = spoil(frame, 68, bytesOf('f32', scalar))
    refuses(() => aggregate([bad]), 68, /scalar: expected less than 2⁶⁴, got .* from sender 8/)
  }
})

test('parts are checked when they arrive, and the sender is named', () => {
  const part = (value: number) =>
    partOf(6, 1, [1, 1, 0, ...new Uint32Array(Float32Array.of(value).buffer)])
  aggregate([gatheredOf([part(MOST)])])
  for (const value of [2 ** 64, Number.NaN]) {
    const bad = gatheredOf([wordPartOf(2, 1, []), part(value)])
    const at = bad.length - 4
    refuses(() => aggregate([bad]), at, /part of sender 6: a value is .*not below 2⁶⁴/)
    const server = createAggregate()
    refuses(() => server.add(bad), at, /part of sender 6/)
    assert.is(server.step, null)
  }
  refuses(() => aggregate([gatheredOf([partOf(4, 1, [7, 7])])]), 88, /part of sender 4: 7 words/)
})

test('a part that only shows its fault once its slices are joined becomes an empty one', () => {
  const frame = gatheredOf([wordPartOf(1, 1, [4, 5, 6]), partOf(2, 3, [9, 9, 9, 9, 9])])
  const slices = splitFrame(frame, frame.length - 4)
  assert.ok(slices.length > 1)
  const joined = joinSlices(slices.map((slice) => aggregate([slice])))
  same(joined, gatheredOf([wordPartOf(1, 1, [4, 5, 6]), wordPartOf(2, 3, [])]))
  aggregate([joined])
})

test('a mean of an all-reduce is bounded alike', () => {
  const own = frameOf([1, 2])
  const sum = payload(own)
  sum[1] = 2 ** 64
  refuses(() => fromPayload(sum, own, 1), 4, /mean below 2⁶⁴/)
})

test('senders are united, and found again, whatever the order and size of their frames', () => {
  const groups = fc.array(
    fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 8 }),
    {
      minLength: 1,
      maxLength: 20,
    },
  )
  fc.assert(
    fc.property(groups, (lists) => {
      const server = createAggregate()
      const known = new Set<number>()
      for (const list of lists) {
        const senders = [...new Set(list)].sort((a, b) => a - b)
        const frame = frameOf([1], { senders, weight: senders.length })
        const twice = senders.findIndex((sender) => known.has(sender))
        if (twice < 0) {
          assert.is(server.add(frame), true)
          for (const sender of senders) known.add(sender)
          assert.is(server.add(frame), false)
        } else if (server.senders.length > 0 && known.has(senders[twice]!)) {
          try {
            assert.is(server.add(frame), false)
          } catch (error) {
            assert.match((error as Error).message, `sender ${senders[twice]} occurs twice`)
            assert.is((error as { byte?: number }).byte, 64 + 4 * twice)
          }
        }
        assert.equal(
          server.senders,
          [...known].sort((a, b) => a - b),
        )
      }
    }),
    { seed: 20261130, numRuns: 500 },
  )
})

test('more senders than a Map can hold are no more than their bytes', () => {
  const count = 2 ** 24 + 100
  const senders = Uint32Array.from({ length: count }, (_, i) => 2 * i)
  const crowd = frameOf([3], { senders: senders as unknown as number[], weight: count })
  const server = createAggregate()
  assert.is(server.add(crowd), true)
  assert.is(server.add(crowd), false)
  assert.is(server.add(frameOf([7], { senders: [1] })), true)
  refuses(() => server.add(frameOf([7], { senders: [count] })), 64, /sender 16777316 occurs twice/)
  assert.is(server.add(frameOf([7], { senders: [count + 1] })), true)
})

test('a thousand frames of a thousand senders each, interleaved', () => {
  const frames = Array.from({ length: 1000 }, (_, k) =>
    frameOf([k], { senders: Array.from({ length: 1000 }, (_, i) => 1000 * i + k), weight: 1000 }),
  )
  const mean = decodeFrame(aggregate(shuffled(frames, 1)))
  assert.is(mean.senders.length, 1e6)
  assert.ok(mean.senders.every((sender, i) => sender === i))
})

test('slices are not mostly headers', () => {
  // 12 kB of senders and 12 kB of values would make 3000 slices of 12 kB each.
  const senders = Array.from({ length: 3000 }, (_, i) => i)
  const frame = frameOf(gaussian(3000, 1), { senders, weight: 3000 })
  const header = decodeFrame(frame).valuesAt
  const parts = gatheredOf(senders.map((sender) => wordPartOf(sender, 1, [1, 2, 3])))
  const isRefused = (error: Error) =>
    error instanceof RangeError && /"maxBytes": expected \d+ or more/.test(error.message)
  assert.throws(() => splitFrame(frame, header + 4), isRefused)
  assert.throws(() => splitFrame(parts, decodeFrame(parts).valuesAt + 3000 * 20), isRefused)
  const slices = splitFrame(frame, 2 * header - 256)
  assert.ok(slices.reduce((sum, { length }) => sum + length, 0) < 3 * frame.length)
  same(joinSlices(slices), frame)
  for (const [whole, maxBytes] of [
    [frame, 2 * header - 257],
    [frameOf(gaussian(100, 1), { ranks: new Array(1000).fill(1) }), 2100],
  ] as const) {
    assert.throws(() => splitFrame(whole, maxBytes), isRefused)
  }
})

test('counts that bytes do not hold cost nothing', () => {
  const frame = frameOf([1, 2, 3])
  for (const at of [40, 44, 48, 60]) {
    const bad = spoil(frame, at, bytesOf('u32', 0xffffffff))
    for (const call of [
      () => inspect(bad),
      () => aggregate([bad]),
      () => splitFrame(bad, 80),
      () => joinSlices([bad]),
    ]) {
      assert.throws(call, (error: Error) => error.name === 'FrameError', `${at}`)
    }
  }
  assert.is(partsOf(decodeFrame(gatheredOf([]))).length, 0)
})

test.run()
