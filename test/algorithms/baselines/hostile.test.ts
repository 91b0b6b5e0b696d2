// Bad parts of other workers in a gathered mean. One that the codec refuses makes `receive` throw,
// and the step goes on with the right mean. One that only the method refuses counts as not sent.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bestRank, signNorm, topK } from '../../../src/baselines.ts'
import { beginFrame, decodeFrame, sealFrame } from '../../../src/codec/frame.ts'
import { partsLength, partsOf, writeParts } from '../../../src/codec/gathered.ts'
import { PART_AT } from '../../../src/codec/header.ts'
import { splitFrame, type Wire } from '../../../src/frames.ts'
import { aggregate, FrameError, type Options } from '../../../src/index.ts'
import { sameBytes, sameFloats } from '../../support/close.ts'
import { errorOf } from '../../support/errors.ts'
import { createFleet } from '../../support/fleet.ts'
import { gradientsOf } from '../../support/numbers.ts'

/** 30 + 7 + 1 entries; topK sends the largest 4 + 1 + 1. */
const SHAPES = [[6, 5], [7], []]

/** Changes a part's data in place, or returns new data. */
type Spoil = (words: Uint32Array, floats: Float32Array, data: Uint8Array) => Uint8Array | undefined

const set =
  (at: number, value: number): Spoil =>
  (words) => {
    words[at] = value
    return undefined
  }
const setFloat =
  (at: number, value: number): Spoil =>
  (_, floats) => {
    floats[at] = value
    return undefined
  }
/** Keeps the number of bytes but changes the counts: words become floats, or floats words. */
const recount =
  (words: number, floats: number): Spoil =>
  (_words, _floats, data) => {
    new Uint32Array(data.buffer, 0, 2).set([words, floats])
    return undefined
  }
const longer: Spoil = (_words, _floats, data) => Uint8Array.of(...data, 0, 0, 0, 0)
const shorter: Spoil = (_words, _floats, data) => data.slice(0, -4)
const nothing: Spoil = () => new Uint8Array(0)

/** Whatever the method: lengths and floats. */
const ANY: readonly [string, Spoil][] = [
  ['no data', nothing],
  ['four bytes more', longer],
  ['four bytes less', shorter],
  ['NaN', setFloat(0, Number.NaN)],
  ['an infinite value', setFloat(0, Number.NEGATIVE_INFINITY)],
  ['2⁶⁴', setFloat(0, 2 ** 64)],
  ['counts beyond all bytes', recount(0xffffffff, 0xffffffff)],
]

const CASES: readonly { name: string; options: Options; spoilt: readonly [string, Spoil][] }[] = [
  {
    name: 'topK',
    options: { method: topK({ ratio: 0.3 }) },
    spoilt: [
      ['an index beyond all parameters', set(5, 38)],
      ['a huge index', set(5, 0xffffffff)],
      ['an index of the next parameter', set(3, 30)],
      ['an index of the parameter before', set(4, 29)],
      [
        'an index twice',
        (words) => {
          words[1] = words[0]!
          return undefined
        },
      ],
      [
        'indices that descend',
        (words) => {
          words.subarray(0, 4).reverse()
          return undefined
        },
      ],
      ['an index for a value', recount(7, 5)],
      ['a value for an index', recount(5, 7)],
    ],
  },
  {
    name: 'signNorm',
    options: { method: signNorm() },
    spoilt: [
      ['a sign behind the last entry', set(1, 1 << 6)],
      ['all bits of the last word', set(1, 0xffffffff)],
      ['a negative norm', setFloat(1, -1)],
      ['a word for a norm', recount(3, 2)],
      ['a norm for a word', recount(1, 4)],
    ],
  },
  {
    name: 'bestRank',
    options: { method: bestRank(), rank: 2, minCompressionRate: 0 },
    spoilt: [
      ['a word for a float', recount(1, 2 * 11 + 8 - 1)],
      [
        'products that overflow',
        (_, floats) => {
          floats.fill(2 ** 63, 0, 22)
          return undefined
        },
      ],
    ],
  },
]

const test = suite('hostile parts')

for (const { name, options, spoilt } of CASES) {
  for (const [what, spoil] of spoilt) {
    test(`${name}: ${what}: the part counts as not sent`, async () => {
      const [worker, twin, other] = await fleetOf(3, options)
      const gradients = gradientsOf(SHAPES, 1)
      const frame = await worker!.compress(gradients)
      await twin!.compress(gradients)
      const fromOther = await other!.compress(gradientsOf(SHAPES, 2), { weight: 3 })
      const { bad } = spoiltMean(aggregate([frame, fromOther]), 2, spoil)
      const residual = await residualNormAfterAbort(options, gradientsOf(SHAPES, 2))
      const updates = []
      for (const [one, mean] of [
        [worker!, bad],
        [twin!, aggregate([frame])],
        [other!, bad],
      ] as const) {
        assert.is(await one.receive(mean), null)
        const update = gradients.map((g) => new Float32Array(g.length))
        const { counted, senders, weight, refused } = await one.decompress(update)
        assert.is(counted, one !== other)
        assert.equal([senders, weight], [[0], 1])
        assert.equal(refused, mean === bad ? [2] : [])
        updates.push(update)
      }
      for (const [i, x] of updates[0]!.entries()) {
        sameFloats(x, updates[1]![i]!, 'the update without that part')
        sameFloats(x, updates[2]![i]!, 'the update of the other worker')
      }
      assert.is(worker!.updateNorm, twin!.updateNorm)
      assert.is(await worker!.residualNorm(), await twin!.residualNorm())
      assert.is(await other!.residualNorm(), residual, 'the other keeps what it had to send')
      assert.is(other!.stats.missed, 1)
      // Both have the same history, so the next step is one of both.
      const next = [
        await worker!.compress(gradientsOf(SHAPES, 3)),
        await other!.compress(gradientsOf(SHAPES, 4)),
      ]
      const mean = aggregate(next)
      for (const one of [worker!, other!]) {
        await one.receive(mean)
        assert.ok((await one.decompress(null)).counted)
      }
    })

    test(`${name}: ${what}: of the only part`, async () => {
      const [worker, , other] = await fleetOf(3, options)
      const mean = aggregate([
        await worker!.compress(null),
        await other!.compress(gradientsOf(SHAPES, 2)),
      ])
      const { bad } = spoiltMean(mean, 2, spoil)
      assert.is(await worker!.receive(bad), null)
      const update = gradientsOf(SHAPES, 5)
      const want = { counted: false, senders: [], weight: 0, refused: [2] }
      assert.equal(await worker!.decompress(update), want)
      assert.ok(update.every((x) => x.every((value) => value === 0)))
    })
  }

  for (const [what, spoil] of ANY) {
    test(`${name}: ${what}`, async () => {
      const [worker, twin, other] = await fleetOf(3, options)
      // The twin is the same worker, but gets no bad mean.
      const gradients = gradientsOf(SHAPES, 1)
      const frame = await worker!.compress(gradients)
      sameBytes(await twin!.compress(gradients), frame, 'the same frame')
      const mean = aggregate([frame, await other!.compress(gradientsOf(SHAPES, 2))])
      const { bad, from } = spoiltMean(mean, 2, spoil)
      const before = worker!.stats
      const error = await errorOf(() => worker!.receive(bad))
      assert.instance(error, FrameError)
      assert.match(error.message, /^part of sender 2: /)
      const { byte } = error as FrameError
      assert.ok(byte >= from && byte <= bad.length, `byte ${byte} of ${from} … ${bad.length}`)
      assert.equal(worker!.stats, before)
      assert.is(worker!.updateNorm, null)
      const updates = []
      for (const one of [worker!, twin!]) {
        assert.is(await one.receive(mean), null)
        const update = gradients.map((g) => new Float32Array(g.length))
        assert.ok((await one.decompress(update)).counted)
        updates.push(update)
      }
      for (const [i, x] of updates[0]!.entries()) sameFloats(x, updates[1]![i]!, 'update')
      sameBytes(await worker!.save(), await twin!.save(), 'state')
    })
  }

  for (const wire of ['f16', 'bf16', 'int8'] as const) {
    test(`${name}: no truncation of a part passes, ${wire}`, async () => {
      const [worker, , other] = await fleetOf(3, { ...options, wire })
      const frame = await worker!.compress(gradientsOf(SHAPES, 1))
      const mean = aggregate([frame, await other!.compress(gradientsOf(SHAPES, 2))])
      const whole = partsOf(decodeFrame(mean))[1]!.data.length
      for (let length = 0; length < whole; length += 4) {
        const { bad } = spoiltMean(mean, 2, (_words, _floats, data) => data.slice(0, length))
        assert.instance(await errorOf(() => worker!.receive(bad)), FrameError)
      }
      assert.is(await worker!.receive(mean), null)
    })
  }

  test(`${name}: a slice of the mean is not the mean`, async () => {
    const [worker, , other] = await fleetOf(3, options)
    const frame = await worker!.compress(gradientsOf(SHAPES, 1))
    const mean = aggregate([frame, await other!.compress(gradientsOf(SHAPES, 2))])
    const slices = splitFrame(mean, mean.length - 16)
    assert.ok(slices.length > 1)
    for (const slice of slices) {
      assert.instance(await errorOf(() => worker!.receive(slice)), FrameError)
    }
    assert.is(await worker!.receive(mean), null)
  })
}

test.run()

/** The residual of worker 2 after a step in which its frame has not counted. */
async function residualNormAfterAbort(options: Options, gradients: Float32Array[]) {
  const [, , other] = await fleetOf(3, options)
  await other!.compress(gradients)
  other!.abort()
  return other!.residualNorm()
}

/** Workers 0, 0 and 2. */
function fleetOf(workers: number, options: Options & { wire?: Wire }) {
  return createFleet(
    SHAPES,
    Array.from({ length: workers }, (_, w) => ({ sender: w === 2 ? 2 : 0 })),
    options,
  )
}

/**
 * Changes one part of a mean and seals it again.
 *
 * @returns the mean, and the offset of that part's data
 */
function spoiltMean(mean: Uint8Array, sender: number, spoil: Spoil) {
  const frame = decodeFrame(mean)
  let from = frame.valuesAt
  let found = 0
  const all = partsOf(frame).map((part) => {
    from += PART_AT.data
    if (part.sender !== sender) {
      from += part.data.length
      return part
    }
    found = from
    const data = part.data.slice()
    const [words, floats] = new Uint32Array(data.buffer, 0, 2)
    // Of other wires than float32, floats do not lie like that; nobody looks at them there.
    const values =
      part.type === 'f32'
        ? new Float32Array(data.buffer, 8 + 4 * words!, floats)
        : new Float32Array(0)
    const other = spoil(new Uint32Array(data.buffer, 8, words), values, data)
    return { ...part, data: other ?? data }
  })
  const { bytes, values } = beginFrame(frame, partsLength(all))
  writeParts(all, values)
  return { bad: sealFrame(bytes), from: found }
}
