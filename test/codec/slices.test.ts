import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { aggregate } from '../../src/codec/aggregate.ts'
import { decodeFrame } from '../../src/codec/frame.ts'
import { joinSlices, splitFrame } from '../../src/codec/slices.ts'
import type { Wire } from '../../src/codec/wire/index.ts'
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

const test = suite('split')

const SEED = 20261122
/** The largest float32 below 2⁶⁴. */
const BELOW = 2 ** 64 - 2 ** 40
const wires = fc.constantFrom<Wire>('f32', 'f16', 'bf16', 'int8')
/** Bytes of a full block, or of a value. */
const BLOCK_BYTES: Readonly<Record<Wire, number>> = { f32: 4, f16: 514, bf16: 2, int8: 69 }
const columns = fc.array(fc.integer({ min: 1, max: 350 }), { minLength: 1, maxLength: 5 })

test('any frame, cut at any size that holds a value, joins in any order', () => {
  fc.assert(
    fc.property(
      wires,
      columns,
      fc.array(fc.float({ noNaN: true, min: -BELOW, max: BELOW }), { maxLength: 3 }),
      fc.uniqueArray(fc.integer({ min: 0, max: 2 ** 32 - 1 }), { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 0, max: 600 }),
      fc.nat(),
      (type, segments, scalars, senders, room, seed) => {
        const values = gaussian(
          segments.reduce((sum, n) => sum + n, 0),
          seed % 100,
        )
        senders.sort((a, b) => a - b)
        const frame = frameOf(values, { type, segments, scalars, senders, weight: 2 })
        const least = decodeFrame(frame).valuesAt + BLOCK_BYTES[type]
        const slices = splitFrame(frame, least + room)
        let next = 0
        for (const slice of slices) {
          assert.ok(slice.length <= least + room)
          const { offset, count, total, scalars: own } = decodeFrame(slice)
          assert.is(offset, next)
          assert.is(total, values.length)
          assert.is(own.length, offset === 0 ? scalars.length : 0)
          next += count
        }
        assert.is(next, values.length)
        same(joinSlices(shuffled(slices, seed)), frame)
      },
    ),
    { seed: SEED, numRuns: 300 },
  )
})

test('slices aggregated one by one, then joined, are the mean of the whole frames', () => {
  fc.assert(
    fc.property(
      wires,
      columns,
      fc.integer({ min: 0, max: 400 }),
      fc.nat(),
      (type, segments, room, seed) => {
        const total = segments.reduce((sum, n) => sum + n, 0)
        const frames = [0, 1, 2].map((sender) =>
          frameOf(gaussian(total, sender + (seed % 50)), {
            type,
            segments,
            senders: [sender],
            weight: sender + 0.25,
            scalars: [sender],
          }),
        )
        // A worker that does not contribute has a shorter header, but its frame is cut alike.
        frames.push(frameOf(new Float32Array(total), { type, segments, weight: 0, scalars: [0] }))
        const cut = frames.map((frame) => splitFrame(frame, 64 + 12 + BLOCK_BYTES[type] + room))
        const means = cut[0]!.map((_, i) => aggregate(cut.map((slices) => slices[i]!)))
        assert.ok(cut.every((slices) => slices.length === means.length))
        same(joinSlices(shuffled(means, seed)), aggregate(frames))
      },
    ),
    { seed: SEED, numRuns: 200 },
  )
})

test('gathered frames are cut through every part, and join in any order', () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 90 }), { minLength: 1, maxLength: 5 })
  fc.assert(
    fc.property(lengths, fc.integer({ min: 0, max: 300 }), fc.nat(), (words, room, seed) => {
      const all = words.map((n, i) => {
        return wordPartOf(
          3 * i,
          i + 1,
          Array.from({ length: n }, (_, k) => 1000 * i + k),
        )
      })
      const frame = gatheredOf(all, { scalars: [1.5] })
      const least = decodeFrame(frame).valuesAt + 20 * all.length
      const slices = splitFrame(frame, least + room)
      for (const slice of slices) {
        assert.ok(slice.length <= least + room)
        assert.is(decodeFrame(slice).total, slices.length)
      }
      same(joinSlices(shuffled(slices, seed)), frame)
    }),
    { seed: SEED, numRuns: 300 },
  )
})

test('what fits comes back as it is; what cannot fit is a RangeError', () => {
  const frame = frameOf([1, 2, 3])
  assert.is(splitFrame(frame, frame.length)[0], frame)
  assert.is(splitFrame(frame, frame.length - 1).length, 2)
  assert.is(splitFrame(frame, 76).length, 3)
  assert.is(joinSlices([frame]), frame)
  const tooSmall = (error: Error) => error instanceof RangeError && /maxBytes/.test(error.message)
  for (const size of [75, 1, 0, -1, 1.5, Number.NaN]) {
    assert.throws(() => splitFrame(frame, size), tooSmall, `${size}`)
  }
  for (const [type, count] of [
    ['int8', 64],
    ['f16', 256],
  ] as const) {
    const block = frameOf(gaussian(count, 1), { type })
    assert.throws(() => splitFrame(block, block.length - 1), tooSmall)
    const two = frameOf(gaussian(count + 1, 1), { type })
    assert.is(splitFrame(two, two.length - 1).length, 2)
  }
  const empty = frameOf([])
  assert.throws(() => splitFrame(empty, empty.length - 1), tooSmall)
  const parts = gatheredOf([wordPartOf(0, 1, [])])
  assert.is(splitFrame(parts, parts.length - 1).length, 2)
  assert.throws(() => splitFrame(parts, parts.length - 5), tooSmall)
})

test('slices can be cut again', () => {
  const frame = frameOf(gaussian(100, 1), { scalars: [1] })
  const slices = splitFrame(frame, 200).flatMap((slice) => splitFrame(slice, 101))
  assert.ok(slices.length > 10)
  same(joinSlices(shuffled(slices, 1)), frame)
  const gathered = gatheredOf([wordPartOf(0, 1, [1, 2])])
  const [first] = splitFrame(gathered, gathered.length - 8)
  assert.throws(() => splitFrame(first!, first!.length - 4), /join it/)
})

test('refuses missing, repeated and foreign slices', () => {
  const wishes = { senders: [1, 4], weight: 2 }
  const values = gaussian(40, 1)
  const [a, b, c, ...more] = splitFrame(frameOf(values, wishes), 140) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ]
  assert.is(more.length, 0)
  assert.throws(
    () => joinSlices([]),
    (error: Error) => error instanceof RangeError,
  )
  refuses(() => joinSlices([b, c]), 56, /lacks the one before it, expected 0, got 16/)
  refuses(() => joinSlices([a, c]), 56, /lacks the one before it, expected 16, got 32/)
  refuses(() => joinSlices([a, b]), 52, /expected slices up to 40, got up to 32/)
  refuses(() => joinSlices([a, b, b, c]), 56, /overlaps another, expected 32, got 16/)
  const foreign: [object, number, RegExp][] = [
    [{ senders: [1, 5] }, 68, /sender: expected 4, got 5/],
    [{ senders: [1], weight: 2 }, 40, /senders: expected 2 of them, got 1/],
    [{ weight: 3 }, 32, /weight: expected 2, got 3/],
    [{ parent: new Uint8Array(8) }, 24, /histories/],
    [{ configHash: new Uint8Array(8) }, 16, /configHash/],
    [{ step: 8 }, 12, /step/],
    [{ round: 0 }, 11, /round/],
    [{ ranks: [3] }, 72, /rank of parameter 0: expected 2, got 3/],
  ]
  for (const [wish, byte, message] of foreign) {
    const other = frameOf(values.subarray(32), { ...wishes, total: 40, offset: 32, ...wish })
    refuses(() => joinSlices([a, b, other]), byte, message)
  }
  const halves = frameOf(values.subarray(32), { ...wishes, total: 40, offset: 32, type: 'f16' })
  refuses(() => joinSlices([a, b, halves]), 10, /type: expected f32, got f16/)
  refuses(() => joinSlices([a, b, spoil(c, 76, bytesOf('f32', Number.NaN))]), 76, /not finite/)
})

test('refuses pieces of gathered frames that are not as they were cut', () => {
  const wish = { total: 2 }
  const first = gatheredOf([partOf(0, 1, [2, 0]), partOf(5, 1, [0])], wish)
  const second = gatheredOf([partOf(0, 1, [3, 4]), partOf(5, 1, [0])], { ...wish, offset: 1 })
  same(joinSlices([second, first]), gatheredOf([wordPartOf(0, 1, [3, 4]), wordPartOf(5, 1, [])]))
  const uneven = gatheredOf([partOf(0, 1, [3]), partOf(5, 1, [0, 9])], { ...wish, offset: 1 })
  refuses(() => joinSlices([first, uneven]), 76 + 24 + 8, /length: expected 8, got 4/)
  const heavier = gatheredOf([partOf(0, 0.5, [3, 4]), partOf(5, 1.5, [0])], { ...wish, offset: 1 })
  refuses(() => joinSlices([first, heavier]), 76, /weight or type differ/)
})

test.run()
