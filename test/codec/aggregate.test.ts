import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { aggregate, createAggregate } from '../../src/codec/aggregate.ts'
import { fromPayload, payload } from '../../src/codec/allreduce.ts'

import { decodeFrame } from '../../src/codec/frame.ts'
import { partsOf } from '../../src/codec/gathered.ts'
import { wireType } from '../../src/codec/wire/index.ts'
import { RoundError } from '../../src/errors.ts'
import {
  bytesOf,
  frameOf,
  gatheredOf,
  refuses,
  shifted,
  shuffled,
  spoil,
  wordPartOf,
} from '../support/bytes.ts'
import { same, UNIT, within } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const test = suite('aggregate')

/** The largest float32 below 2⁶⁴. */
const MAX = 2 ** 64 - 2 ** 40

function valuesOf(bytes: Uint8Array): Float32Array {
  const frame = decodeFrame(bytes)
  const values = new Float32Array(frame.count).fill(Number.NaN)
  wireType(frame.type).decode(frame.values, frame.count, values)
  return values
}

/** Frames of several workers, of unlike weights and sizes of numbers. */
function fleet(workers: number, count: number, seed = 1): Uint8Array[] {
  return Array.from({ length: workers }, (_, sender) => {
    const values = gaussian(count, seed + sender).map((x) => x * 10 ** (sender % 7))
    const weight = Math.fround(0.1 + ((sender * 7) % 5))
    return frameOf(values, { senders: [sender], weight, scalars: [sender, -1 / (sender + 1)] })
  })
}

test('averages by weight, exactly for small integers', () => {
  const mean = decodeFrame(
    aggregate([
      frameOf([1, 2, -8], { senders: [0], weight: 1, scalars: [4] }),
      frameOf([5, 2, 0], { senders: [1], weight: 3, scalars: [0] }),
    ]),
  )
  assert.is(mean.weight, 4)
  same(mean.senders, [0, 1])
  same(mean.scalars, [1])
  same(valuesOf(mean.bytes), [4, 2, -2])
  assert.is(mean.step, 7)
  assert.is(mean.round, 1)
  same(mean.parent, [11, 12, 13, 14, 15, 16, 17, 18])
})

test('is within one rounding of the mean in float64', () => {
  for (const workers of [1, 2, 3, 4, 5, 8, 9]) {
    const frames = fleet(workers, 4099)
    const all = frames.map(valuesOf)
    const weights = frames.map((bytes) => decodeFrame(bytes).weight)
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    const sumOf = (i: number, size: (x: number) => number) =>
      all.reduce((sum, values, w) => sum + weights[w]! * size(values[i]!), 0) / total
    const want = all[0]!.map((_, i) => sumOf(i, (x) => x))
    // Both are rounded once to float32; the float64 sums err by workers + 2 roundings of 2⁻⁵³ each.
    const bound = (i: number) =>
      2 * UNIT * Math.abs(want[i]!) + (workers + 2) * 2 ** -52 * sumOf(i, Math.abs)
    within(valuesOf(aggregate(frames)), want, bound)
  }
})

test('gives the same bits in any order, at any alignment', () => {
  const frames = fleet(7, 2500)
  const want = aggregate(frames)
  for (let seed = 0; seed < 10; seed++) {
    same(aggregate(shuffled(frames, seed).map((bytes) => shifted(bytes, seed % 4))), want)
  }
})

test('a single f32 frame comes back bit for bit, −0 and subnormals included', () => {
  const values = [1, -0, 0, 1e-45, -1e-40, MAX, 0.1, 1 / 3]
  for (const weight of [1, Math.fround(0.3), 2 ** -63, 2 ** -149, 2 ** 127]) {
    const frame = frameOf(values, { weight, scalars: [0.7] })
    same(aggregate([frame]), frame)
    const server = createAggregate()
    server.add(frame)
    same(server.result(), frame)
  }
})

test('composes: senders and weight exactly, values to rounding', () => {
  const frames = fleet(9, 1000)
  const flat = decodeFrame(aggregate(frames))
  const trees = [
    [frames.slice(0, 4), frames.slice(4)],
    [[frames[8]!, frames[0]!], [frames[3]!], [1, 2, 4, 5, 6, 7].map((i) => frames[i]!)],
  ]
  const means = valuesOf(flat.bytes)
  const sizes = frames.map(valuesOf)
  for (const groups of trees) {
    const tree = decodeFrame(aggregate(groups.map(aggregate)))
    same(tree.senders, flat.senders)
    // Weights are float32: three bits of exponent apart, nine of them add up exactly in float64.
    assert.is(tree.weight, flat.weight)
    // Each level rounds its mean once; a group's mean is at most its largest value.
    within(valuesOf(tree.bytes), means, (i) => {
      const most = Math.max(...sizes.map((values) => Math.abs(values[i]!)))
      return 3 * UNIT * most
    })
  }
})

test('wire types are averaged as decoded, four at a time or not, whatever their blocks', () => {
  const count = 5003
  const cuts = [[count], [64, 1, 4938], [3, 5000], [1000, 1000, 1000, 2003], [count]]
  for (const type of ['f16', 'bf16', 'int8'] as const) {
    for (const workers of [1, 3, 4, 5]) {
      const frames = Array.from({ length: workers }, (_, sender) => {
        const weight = 1 + sender
        const segments = cuts[sender]!
        return frameOf(gaussian(count, sender), { type, segments, senders: [sender], weight })
      })
      const plain = frames.map((frame, sender) =>
        frameOf(valuesOf(frame), { senders: [sender], weight: 1 + sender }),
      )
      same(valuesOf(aggregate(frames)), valuesOf(aggregate(plain)))
    }
  }
})

test('takes mixed wire types; the result is float32', () => {
  const values = gaussian(300, 5)
  const types = ['f32', 'f16', 'bf16', 'int8'] as const
  const frames = types.map((type, sender) => frameOf(values, { type, senders: [sender] }))
  const mean = decodeFrame(aggregate(frames))
  assert.is(mean.type, 'f32')
  const all = frames.map(valuesOf)
  const want = values.map((_, i) => (all[0]![i]! + all[1]![i]! + all[2]![i]! + all[3]![i]!) / 4)
  within(valuesOf(mean.bytes), want, (i) => 2 * UNIT * Math.abs(want[i]!))
  same(aggregate([frames[3]!, frames[1]!, frames[0]!, frames[2]!]), mean.bytes)
  same(valuesOf(aggregate([frames[3]!])), all[3]!)
})

test('streaming gives the bits of aggregate, if frames come by sender', () => {
  for (const type of ['f32', 'f16', 'bf16', 'int8'] as const) {
    const frames = Array.from({ length: 6 }, (_, sender) =>
      frameOf(gaussian(5000, sender), { type, senders: [sender], weight: sender + 0.5 }),
    )
    const server = createAggregate()
    for (const frame of frames) assert.is(server.add(frame), true)
    same(server.result(), aggregate(frames))
  }
})

test('frames of weight 0 add nothing, and there may be many', () => {
  const nobody = frameOf([0, 0], { weight: 0, scalars: [9] })
  const some = [
    frameOf([1, 2], { senders: [4], scalars: [3] }),
    frameOf([3, 4], { senders: [2], scalars: [5] }),
  ]
  same(aggregate([nobody, some[0]!, nobody, some[1]!]), aggregate(some))
  const none = decodeFrame(aggregate([nobody, nobody]))
  assert.is(none.weight, 0)
  assert.is(none.senders.length, 0)
  same(none.scalars, [0])
  same(valuesOf(none.bytes), [0, 0])
  same(aggregate([none.bytes, some[0]!]), some[0]!)
  const server = createAggregate()
  assert.is(server.add(nobody), true)
  assert.is(server.add(nobody), true)
  assert.is(server.add(frameOf([0, 0], { type: 'int8', weight: 0, scalars: [1] })), true)
  same(server.result(), none.bytes)
  server.add(some[0]!)
  same(server.result(), some[0]!)
})

test('a sender that occurs twice is named', () => {
  const one = frameOf([1], { senders: [5] })
  const group = frameOf([2], { senders: [3, 5], weight: 2 })
  const message = /sender 5 occurs twice: give each worker its own `sender` number/
  refuses(() => aggregate([one, frameOf([2], { senders: [5] })]), 64, message)
  const again = /sender 5 occurs twice, with the very same frame: .*delivered twice.*`sender`/
  refuses(() => aggregate([one, one]), 64, again)
  refuses(() => aggregate([group, group]), 64, /sender 3 occurs twice, with the very same frame/)
  refuses(() => aggregate([one, group]), 64, message)
  refuses(() => aggregate([group, frameOf([2], { senders: [4, 5] })]), 68, message)
})

test('refuses nothing, unlike frames, and anonymous means', () => {
  assert.throws(
    () => aggregate([]),
    (error: Error) => error instanceof RangeError,
  )
  const own = frameOf([1, 2])
  const other = { senders: [1] }
  refuses(() => aggregate([own, frameOf([1, 2], { ...other, step: 8 })]), 12, /step/)
  refuses(() => aggregate([own, frameOf([1], other)]), 52, /total: expected 2, got 1/)
  const parent = new Uint8Array(8)
  refuses(() => aggregate([own, frameOf([1, 2], { ...other, parent })]), 24, /histories differ/)
  refuses(() => aggregate([own, frameOf([0, 0], { weight: 0, round: 0 })]), 11, /round/)
  refuses(() => aggregate([fromPayload(payload(own), own, 1)]), 40, /anonymous/)
})

test('finds the value that is not finite, also where only the mean is looked at', () => {
  const frames = fleet(5, 3000)
  for (const [byte, bad] of [
    [80 + 4 * 2999, Number.NaN],
    [80, Number.POSITIVE_INFINITY],
  ] as const) {
    const spoilt = [...frames]
    spoilt[3] = spoil(frames[3]!, byte, bytesOf('f32', bad))
    assert.is(decodeFrame(frames[3]!).valuesAt, 80)
    refuses(() => aggregate(spoilt), byte, /not finite/)
  }
  // ∞ − ∞ must not hide: two frames spoilt at one value.
  const hidden = [...frames]
  hidden[0] = spoil(frames[0]!, 80, bytesOf('f32', Number.POSITIVE_INFINITY))
  hidden[1] = spoil(frames[1]!, 80, bytesOf('f32', Number.NEGATIVE_INFINITY))
  refuses(() => aggregate(hidden), 80, /not finite/)
})

test('finds a code that is not finite, in the frame and at the byte, whatever else is added', () => {
  const codes = {
    f16: [0x7c00, 0xfc00, 0x7e01, 0xffff],
    bf16: [0x7f80, 0xff80, 0x7fc1, 0xffff],
  }
  for (const type of ['f16', 'bf16'] as const) {
    const frames = [0, 1, 2, 3, 4].map((sender) =>
      frameOf(gaussian(5001, sender), { type: sender < 3 ? type : 'f32', senders: [sender] }),
    )
    const valuesAt = decodeFrame(frames[0]!).valuesAt
    for (const i of [0, 1, 255, 256, 2047, 2048, 5000]) {
      const heads = type === 'f16' ? 2 * (Math.floor(i / 256) + 1) : 0
      const at = valuesAt + heads + 2 * i
      for (const code of codes[type]) {
        const spoilt = [...frames]
        spoilt[1] = spoil(frames[1]!, at, bytesOf('u16', code))
        refuses(() => aggregate(spoilt), at, /not finite/)
        refuses(() => aggregate([spoilt[1]!]), at, /not finite/)
      }
    }
  }
})

test('refuses an exponent out of range, which no value may show', () => {
  for (const exponent of [0x82, 0x80, 49, 127]) {
    const frames = [0, 1, 2, 3].map((sender) =>
      frameOf(new Float32Array(300), { type: 'f16', senders: [sender] }),
    )
    const at = decodeFrame(frames[1]!).valuesAt + 514 + 1
    frames[1] = spoil(frames[1]!, at, [exponent])
    refuses(() => aggregate(frames), at, /not finite/)
    refuses(() => aggregate([frames[1]!]), at, /not finite/)
  }
})

test('refuses a scale below zero, which no value shows', () => {
  const frames = [0, 1].map((sender) =>
    frameOf(gaussian(100, sender), { type: 'int8', senders: [sender] }),
  )
  const at = decodeFrame(frames[1]!).valuesAt + 1
  frames[1] = spoil(frames[1]!, at, bytesOf('f32', -1))
  refuses(() => aggregate(frames), at, /not finite/)
})

test('the largest values and weights have a finite mean', () => {
  const weight = 2 ** 127 * (2 - 2 ** -23)
  const frames = [0, 1, 2].map((sender) => frameOf([MAX, -MAX], { senders: [sender], weight }))
  same(valuesOf(aggregate(frames)), [MAX, -MAX])
  const heavy = [0, 1].map((sender) => frameOf([1], { senders: [sender], weight: 2 ** 159.5 }))
  refuses(() => aggregate(heavy), 32, /weight: the sum/)
})

test('a server: false for what it has, an error for what does not fit, state untouched', () => {
  const server = createAggregate()
  assert.throws(
    () => server.result(),
    (error: Error) => error instanceof RoundError,
  )
  assert.is(server.step, null)
  assert.is(server.round, null)
  const frames = fleet(3, 50)
  const before = () => [server.result(), server.senders, server.weight] as const

  refuses(() => server.add(frames[0]!.subarray(0, 70)), 70, /length/)
  assert.is(server.step, null)
  assert.is(server.add(frames[2]!), true)
  assert.is(server.add(frames[0]!), true)
  assert.is(server.step, 7)
  assert.is(server.round, 1)
  assert.equal(server.senders, [0, 2])
  const [result, senders, weight] = before()
  same(result, aggregate([frames[0]!, frames[2]!]))

  assert.is(server.add(frames[0]!), false)
  assert.is(server.add(shifted(frames[2]!, 3)), false)
  const values = gaussian(50, 77)
  const scalars = [1, 2]
  const unlike: [Uint8Array, RegExp][] = [
    [frameOf(values, { senders: [0], scalars }), /sender 0 occurs twice/],
    [frameOf(values, { senders: [1, 2], scalars }), /sender 2 occurs twice/],
    [frameOf(values, { senders: [1], scalars, step: 8 }), /step/],
    [frameOf(values, { senders: [1], scalars, ranks: [1] }), /rank/],
    [frameOf(values, { senders: [1] }), /scalars/],
    [frameOf(values.subarray(1), { senders: [1], scalars }), /total/],
    [spoil(frames[1]!, 100, bytesOf('f32', Number.NaN)), /not finite/],
    [spoil(frames[1]!, 80 + 4 * 49, bytesOf('f32', Number.NaN)), /not finite/],
  ]
  for (const [frame, message] of unlike) {
    assert.throws(() => server.add(frame), message)
    same(server.result(), result)
    assert.equal(server.senders, senders)
    assert.is(server.weight, weight)
  }
  assert.is(server.add(frames[1]!), true)
  assert.equal(server.senders, [0, 1, 2])
  assert.is(server.weight, decodeFrame(aggregate(frames)).weight)
})

test('the weight is added by sender, in whatever order frames come', () => {
  // 1 + 2⁻⁵³ + 2⁻⁵³ is 1 in float64; the other way round it is 1 + 2⁻⁵².
  const weights = [1, 2 ** -53, 2 ** -53]
  const frames = weights.map((weight, sender) => frameOf([1], { senders: [sender], weight }))
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 0, 2],
  ]) {
    const server = createAggregate()
    for (const sender of order) server.add(frames[sender]!)
    assert.is(server.weight, 1)
    same(server.result(), aggregate(frames))
  }
})

test('a server can begin again, with frames of any size, and gives fresh bytes', () => {
  const server = createAggregate()
  for (const [count, seed] of [
    [50, 1],
    [50, 2],
    [20, 3],
    [80, 4],
  ] as const) {
    const frames = fleet(3, count, seed)
    for (const frame of frames) server.add(frame)
    const result = server.result()
    same(result, aggregate(frames))
    server.result().fill(0)
    same(server.result(), result)
    server.reset()
    assert.is(server.step, null)
    assert.equal(server.senders, [])
    assert.is(server.weight, 0)
    assert.throws(
      () => server.result(),
      (error: Error) => error instanceof RoundError,
    )
  }
})

test('gathered: parts are united by sender, in any order and grouping', () => {
  const all = [
    wordPartOf(0, 1, [10]),
    wordPartOf(2, 0.5, [20, 21]),
    wordPartOf(3, 3, []),
    wordPartOf(7, 1, [70]),
  ]
  const frames = all.map((part) => gatheredOf([part], { scalars: [part.sender] }))
  const union = aggregate(frames)
  const frame = decodeFrame(union)
  same(frame.senders, [0, 2, 3, 7])
  assert.is(frame.weight, 5.5)
  same(frame.scalars, [Math.fround((0 + 2 * 0.5 + 3 * 3 + 7) / 5.5)])
  assert.equal(
    partsOf(frame).map(({ data }) => data.length),
    [12, 16, 8, 12],
  )
  same(new Uint8Array(gatheredOf(all, { scalars: Array.from(frame.scalars) })), union)
  same(aggregate([frames[3]!, frames[1]!, frames[0]!, frames[2]!]), union)
  const grouped = decodeFrame(
    aggregate([aggregate([frames[3]!, frames[0]!]), frames[2]!, frames[1]!]),
  )
  same(grouped.values, frame.values)
  const nobody = gatheredOf([], { scalars: [0] })
  same(aggregate([nobody, ...frames, nobody]), union)
  same(aggregate([nobody, nobody]), nobody)

  const server = createAggregate()
  for (const bytes of [frames[2]!, frames[0]!, frames[3]!, frames[1]!]) {
    const lent = bytes.slice()
    assert.is(server.add(lent), true)
    lent.fill(0) // the bytes are the transport's
    assert.is(server.add(bytes), false)
  }
  same(decodeFrame(server.result()).values, frame.values)
  refuses(
    () => server.add(gatheredOf([wordPartOf(2, 1, [5])], { scalars: [0] })),
    64,
    /sender 2 occurs/,
  )
  same(decodeFrame(server.result()).values, frame.values)
})

test.run()
