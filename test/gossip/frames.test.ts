// lowrank/gossip: bad bytes, calls out of order, and the contents of frames.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { sealFrame } from '../../src/codec/frame.ts'
import { aggregate, inspect, splitFrame } from '../../src/frames.ts'
import { complete, ring } from '../../src/gossip/topology.ts'
import {
  choco,
  createGossip,
  deepSqueeze,
  FrameError,
  type GossipMethod,
  type GossipOptions,
  moniqua,
  plain,
  planGossip,
  powerGossip,
  RoundError,
} from '../../src/gossip.ts'
import { sameFloats } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { uniform } from '../support/numbers.ts'
import { readState, writeState } from '../support/safetensors.ts'
import { createNet, iterate } from './net.ts'

const SHAPES = [[9, 8], [5]]
const lengthOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1)
const modelOf = (seed: number) => SHAPES.map((shape, i) => uniform(lengthOf(shape), 10 * seed + i))

/** Nodes 3 and 7, after an iteration, and their models. */
async function pair(options: Partial<GossipOptions> = {}) {
  const a = await createGossip(SHAPES, { self: 3, neighbours: { 7: 0.5 }, ...options })
  const b = await createGossip(SHAPES, { self: 7, neighbours: { 3: 0.5 }, ...options })
  const [x, y] = [modelOf(1), modelOf(2)]
  const [fromA, fromB] = [a.beginSync(x).get(7)!, b.beginSync(y).get(3)!]
  a.receive(7, fromB)
  b.receive(3, fromA)
  a.applySync(x)
  b.applySync(y)
  return { a, b, x, y }
}

const isFrameError = (error: Error) => error instanceof FrameError

const test = suite('gossip: frames')

test('a frame says who sent it, when, and with what weight', async () => {
  const { a, x } = await pair()
  const frame = a.beginSync(x).get(7)!
  const { kind, step, round, senders, weight, ranks } = inspect(frame)
  assert.equal(
    { kind, step, round, senders, weight, ranks },
    { kind: 'gathered', step: 1, round: 0, senders: [3], weight: 0.5, ranks: [1, 0] },
  )
})

test('any bit that is wrong is found, and everything is as it was', async () => {
  const { a, b, x, y } = await pair()
  a.beginSync(x)
  const frame = b.beginSync(y).get(3)!
  for (let byte = 0; byte < frame.length; byte++) {
    const spoilt = frame.slice()
    spoilt[byte]! ^= 1 << (byte % 8)
    assert.throws(() => a.receive(7, spoilt), isFrameError)
  }
  for (const length of [0, 10, 64, frame.length - 4]) {
    assert.throws(() => a.receive(7, frame.slice(0, length)), isFrameError)
  }
  assert.throws(
    () => a.receive(7, [...frame] as never),
    (error: Error) => error instanceof TypeError,
  )
  assert.equal(a.waiting, [7])
  assert.is(a.receive(7, frame), 'taken')
  assert.is(a.applySync(x).outcomes.get(7), 'exchanged')
})

test('frames of others, or of other options, are refused', async () => {
  const { a, b, x, y } = await pair()
  const own = a.beginSync(x).get(7)!
  assert.throws(() => a.receive(7, own), /expected a frame of sender 7, got one of sender 3/)
  const others: [Partial<GossipOptions>, RegExp][] = [
    [{ seed: 1 }, /configHash/],
    [{ method: powerGossip({ gamma: 0.9 }) }, /configHash/],
    [{ method: powerGossip({ rank: 2 }) }, /configHash/],
    [{ method: plain() }, /configHash/],
  ]
  for (const [options, message] of others) {
    const { b, y } = await pair(options)
    const frame = b.beginSync(y).get(3)!
    const error = await errorOf(() => a.receive(7, frame))
    assert.instance(error, FrameError)
    assert.match(error.message, message)
  }
  const frame = b.beginSync(y).get(3)!
  assert.throws(() => a.receive(7, splitFrame(frame, 150)[0]!), isFrameError)
  assert.throws(() => a.receive(7, aggregate([frame, own])), /senders/)
})

test('a frame that is well-formed but has too much or too little in it is refused', async () => {
  // The sender has the same configHash and history, but the other side's turn.
  const { a, b, x, y } = await pair()
  const begun = await createGossip(SHAPES, { self: 7, neighbours: { 3: 0.5 } })
  a.beginSync(x)
  const wrong = begun.beginSync(y, { step: 1 }).get(3)!
  const right = b.beginSync(y).get(3)!
  const forged = wrong.slice()
  forged.set(right.subarray(24, 32), 24)
  const error = await errorOf(() => a.receive(7, sealFrame(forged)))
  assert.instance(error, FrameError)
  assert.match(error.message, /part of sender 7: expected 0 words and 14 floats, got 0 and 13/)
  // One word instead of two.
  const words = right.slice()
  const part = 64 + 4 + 4 + 16
  const view = new DataView(words.buffer)
  view.setUint32(part, 1, true)
  view.setUint32(part + 4, 15, true)
  assert.throws(() => a.receive(7, sealFrame(words)), /expected 2 words or more, got 1/)
  for (const bad of [Number.POSITIVE_INFINITY, 2 ** 64]) {
    const large = right.slice()
    new DataView(large.buffer).setFloat32(large.length - 4, bad, true)
    assert.throws(() => a.receive(7, sealFrame(large)), /part of sender 7: .*not below 2⁶⁴/)
  }
  assert.is(a.receive(7, right), 'taken')
  assert.is(a.applySync(x).outcomes.get(7), 'exchanged')
})

test('compressed parts that cannot be are refused, with their byte', async () => {
  const part = 64 + 4 + 4 + 16 + 8 + 8 // the first word of the coding
  const table: [GossipMethod, number, (view: DataView) => void, RegExp][] = [
    [choco({ compression: 'sign', gamma: 0.4 }), 3, (v) => v.setUint8(part + 11, 1), /bits after/],
    [
      choco({ compression: 'sign', gamma: 0.4 }),
      3,
      (v) => v.setFloat32(part + 12, -1, true),
      /norm 0/,
    ],
    [
      choco({ compression: { keep: 0.1 }, gamma: 0.4 }),
      8,
      (v) => v.setUint32(part, 72, true),
      /index 0/,
    ],
    [
      deepSqueeze({ compression: { keep: 0.1 }, gamma: 0.4 }),
      8,
      (v) => v.setUint32(part + 4, 0, true),
      /index 1: expected [1-9]/,
    ],
    [
      deepSqueeze({ compression: { keep: 0.1 }, gamma: 0.4 }),
      8,
      (v) => v.setUint32(part + 28, 71, true),
      /index 7/,
    ],
    [moniqua({ theta: 1 }), 5, (v) => v.setUint8(part + 19, 4), /bits after/],
    [moniqua({ theta: 1, published: true }), 5, (v) => v.setUint8(part + 19, 0xc0), /bits after/],
  ]
  for (const [method, words, spoil, message] of table) {
    const { a, b, x, y } = await pair({ method })
    a.beginSync(x)
    const frame = b.beginSync(y).get(3)!
    assert.is(new DataView(frame.buffer).getUint32(part - 16, true), 2 + words)
    const spoilt = frame.slice()
    spoil(new DataView(spoilt.buffer))
    const error = await errorOf(() => a.receive(7, sealFrame(spoilt)))
    assert.instance(error, FrameError)
    assert.match(error.message, message)
    assert.is((error as FrameError).byte >= part - 16, true)
    assert.is(a.receive(7, frame), 'taken')
    assert.is(a.applySync(x).outcomes.get(7), 'exchanged')
  }
})

test('calls out of order say so, and change nothing', async () => {
  const { a, b, x, y } = await pair()
  const state = a.save()
  const frame = b.beginSync(y).get(3)!
  assert.is(a.receive(7, frame), 'early')
  for (const call of [() => a.giveUp(7), () => a.applySync(x)]) {
    assert.throws(call, (error: Error) => error instanceof RoundError)
  }
  assert.equal(a.save(), state)
  a.beginSync(x)
  const before = x.map((values) => values.slice())
  const open = [
    () => a.beginSync(x),
    () => a.applySync(x),
    () => a.save(),
    () => a.addNeighbour(8, 0.1),
    () => a.removeNeighbour(7),
  ]
  for (const call of open) assert.throws(call, (error: Error) => error instanceof RoundError)
  assert.is(a.receive(7, frame), 'taken')
  assert.throws(() => a.receive(7, frame), /answered/)
  for (const [i, values] of x.entries()) sameFloats(values, before[i]!, 'untouched')
  a.applySync(x)
  assert.is(a.receive(7, frame), 'late')
})

test('bad input is named', async () => {
  const { a, x } = await pair()
  const bad: [string, () => unknown, typeof TypeError | typeof RangeError][] = [
    ['neighbour', () => a.receive(3, new Uint8Array()), RangeError],
    ['neighbour', () => a.removeNeighbour(8), RangeError],
    ['neighbour', () => a.addNeighbour(3, 0.5), RangeError],
    ['neighbour', () => a.addNeighbour(-1, 0.5), RangeError],
    ['neighbour', () => a.addNeighbour('8' as never, 0.5), TypeError],
    ['neighbours[8]', () => a.addNeighbour(8, 0), RangeError],
    ['neighbours[8]', () => a.addNeighbour(8, 1.5), RangeError],
    ['neighbours[8]', () => a.addNeighbour(8, Number.NaN), RangeError],
    ['neighbours[8]', () => a.addNeighbour(8, 2 ** -200), RangeError],
    ['parameters', () => a.beginSync(3 as never), TypeError],
    ['parameters', () => a.beginSync(x.slice(1)), RangeError],
    ['parameters[1]', () => a.beginSync([x[0]!, new Float32Array(4)]), RangeError],
    ['parameters[0]', () => a.beginSync([[1] as never, x[1]!]), TypeError],
    ['step', () => a.beginSync(x, { step: 0 }), RangeError],
    ['step', () => a.beginSync(x, { step: 1.5 }), RangeError],
    ['options', () => createGossip(SHAPES, undefined as never), TypeError],
    ['self', () => createGossip(SHAPES, {} as never), TypeError],
    ['self', () => createGossip(SHAPES, { self: -1 }), RangeError],
    ['seed', () => createGossip(SHAPES, { self: 0, seed: 0.5 }), RangeError],
    ['wire', () => createGossip(SHAPES, { self: 0, wire: 'f64' as never }), RangeError],
    ['method', () => createGossip(SHAPES, { self: 0, method: 'plain' as never }), TypeError],
    ['random', () => createGossip(SHAPES, { self: 0, random: 3 as never }), TypeError],
    ['neighbours', () => createGossip(SHAPES, { self: 0, neighbours: 3 as never }), TypeError],
    ['neighbours', () => createGossip(SHAPES, { self: 0, neighbours: { 0: 1 } }), RangeError],
    [
      'neighbours',
      () => createGossip(SHAPES, { self: 0, neighbours: { x: 1 } as never }),
      RangeError,
    ],
    ['shapes', () => createGossip([], { self: 0 }), RangeError],
    ['restore', () => createGossip(SHAPES, { self: 0, restore: 3 as never }), TypeError],
    ['rank', () => powerGossip({ rank: 0 }), RangeError],
    ['iterations', () => powerGossip({ iterations: 128 }), RangeError],
    ['gamma', () => powerGossip({ gamma: 0 }), RangeError],
    ['gamma', () => plain({ gamma: 2.5 }), RangeError],
    ['warmStart', () => powerGossip({ warmStart: 'fixed' as never }), TypeError],
    ['published', () => powerGossip({ published: 1 as never }), TypeError],
    ['compression', () => choco({ gamma: 0.5 } as never), TypeError],
    ['compression', () => choco({ gamma: 0.5, compression: 'signs' as never }), TypeError],
    ['compression.keep', () => deepSqueeze({ gamma: 1, compression: { keep: 0 } }), RangeError],
    ['gamma', () => choco({ compression: 'sign' } as never), RangeError],
    ['theta', () => moniqua({} as never), RangeError],
    ['theta', () => moniqua({ theta: 0 }), RangeError],
    ['theta', () => moniqua({ theta: Number.POSITIVE_INFINITY }), RangeError],
    ['theta', () => moniqua({ theta: '1' as never }), RangeError],
    ['gamma', () => moniqua({ theta: 1, gamma: -1 }), RangeError],
    ['published', () => moniqua({ theta: 1, published: 'yes' as never }), TypeError],
    ['minCompressionRate', () => powerGossip({ minCompressionRate: -1 }), RangeError],
  ]
  const state = a.save()
  for (const [name, call, type] of bad) {
    const error = await errorOf(call, name)
    assert.ok(error instanceof type, `${name}: ${error}`)
    assert.ok(error.message.startsWith(`"${name}"`), `${name}: ${error.message}`)
  }
  assert.equal(a.save(), state)
})

test('files that are no states of this node are refused', async () => {
  const { a } = await pair()
  const { metadata, tensors } = readState(a.save())
  const all = Object.fromEntries(tensors)
  const edges = JSON.parse(metadata.edges!)
  const changed = (change: object) => JSON.stringify([{ ...edges[0], ...change }])
  const restored = (restore: Uint8Array, options: Partial<GossipOptions> = {}) =>
    errorOf(() => createGossip(SHAPES, { self: 3, restore, ...options }))
  const { 'edge3-7/q/0': _, ...lacking } = all
  const nan = { ...all['edge3-7/p/0']!, data: new Float32Array(9).fill(Number.NaN) }
  const huge = { ...nan, data: new Float32Array(9).fill(2 ** 100) }
  const last = { previous: '0'.repeat(16), matrices: 0.5, raws: 0, side: 'left' }
  const bad: [RegExp, Uint8Array, Partial<GossipOptions>?][] = [
    [/safetensors/, new Uint8Array(20)],
    [/self: expected 4, got 3/, a.save(), { self: 4 }],
    [/layout/, a.save(), { seed: 1 }],
    [/layout/, a.save(), { method: plain() }],
    [/format/, writeState(all, { ...metadata, format: 'lowrank' })],
    [/version/, writeState(all, { ...metadata, version: '2' })],
    [/step/, writeState(all, { ...metadata, step: '-1' })],
    [/edges: expected JSON/, writeState(all, { ...metadata, edges: '[' })],
    [/edges/, writeState(all, { ...metadata, edges: '{}' })],
    [/edges/, writeState(all, { ...metadata, edges: '[3]' })],
    [/edges/, writeState(all, { ...metadata, edges: JSON.stringify([edges[0], edges[0]]) })],
    [/edges/, writeState(all, { ...metadata, edges: changed({ parent: 'x' }) })],
    [/edges/, writeState(all, { ...metadata, edges: changed({ turns: -1 }) })],
    [/edges/, writeState(all, { ...metadata, edges: changed({ turns: 2 ** 53 - 1 }) })],
    [/edges/, writeState(all, { ...metadata, edges: changed({ last: { ...last, raws: -2.5 } }) })],
    [
      /edges/,
      writeState(all, { ...metadata, edges: changed({ last: { ...last, matrices: 1e300 } }) }),
    ],
    [/edges/, writeState(all, { ...metadata, edges: changed({ turns: 0, last }) })],
    [/step/, writeState(all, { ...metadata, step: String(2 ** 32 - 1) })], // it could not begin
    [/format/, writeState(all, { ...metadata, format: 'x'.repeat(1e6) })],
    [/edges/, writeState(all, { ...metadata, edges: `["${'x'.repeat(1e6)}"]` })],
    [/edges/, writeState(all, { ...metadata, edges: changed({ last: { side: 'up' } }) })],
    [/neighbour/, writeState(all, { ...metadata, edges: changed({ neighbour: 3 }) })],
    [/weight/, writeState(all, { ...metadata, edges: changed({ weight: 3 }) })],
    [/expected edge3-7\/q\/0 of shape \[1, 8]/, writeState(lacking, metadata)],
    [/edge3-7\/p\/0: expected finite/, writeState({ ...all, 'edge3-7/p/0': nan }, metadata)],
    [/edge3-7\/p\/0: expected finite/, writeState({ ...all, 'edge3-7/p/0': huge }, metadata)],
  ]
  for (const [message, file, options] of bad) {
    const error = await restored(file, options)
    assert.ok(error instanceof RangeError, `${message}: ${error}`)
    assert.match(error.message, message)
    assert.ok(error.message.length < 1000)
  }
  const only = await createGossip(SHAPES, { self: 3, restore: a.save(), neighbours: { 8: 0.25 } })
  assert.equal(only.neighbours, [8])
})

test('planGossip tells the bytes of frames for every method, wire type and number of neighbours', async () => {
  const shapes = [[12, 9], [7], [3, 4, 5], [1, 8], { shape: [6, 6], compress: true }]
  const lengths = [108, 7, 60, 8, 36]
  for (const method of [
    powerGossip(),
    powerGossip({ rank: 2, iterations: 3 }),
    plain(),
    choco({ compression: 'sign', gamma: 0.4 }),
    deepSqueeze({ compression: { keep: 0.1 }, gamma: 0.1 }),
    moniqua({ theta: 1 }),
  ]) {
    for (const wire of ['f32', 'f16', 'bf16', 'int8'] as const) {
      for (const nodes of [2, 3, 4]) {
        const models = Array.from({ length: nodes }, (_, w) =>
          lengths.map((n, i) => uniform(n, 9 * w + i)),
        )
        const net = await createNet(complete(nodes), shapes, { method, wire }, models)
        let [bytes, frames] = [0, 0]
        for (let t = 0; t < 2; t++) {
          iterate(net, (from, _, frame) => {
            if (from !== 0) return false
            bytes += frame.length
            frames++
            return false
          })
        }
        const neighbours = nodes - 1
        const planned = planGossip(shapes, { method, neighbours, wire })
        assert.is(planned.bytes, bytes / 2, `${method.name}, ${wire}, ${neighbours}`)
        assert.is(planned.rounds * neighbours, frames / 2)
        assert.is(planned.ratio, (neighbours * 219) / planned.floats)
        assert.equal(
          planned.parameters.map(({ rank }) => rank),
          net.nodes[0]!.ranks,
        )
      }
    }
  }
  for (const [name, options] of [
    ['method', { method: 'powerGossip' }],
    ['neighbours', { neighbours: -1 }],
    ['wire', { wire: 'f64' }],
    ['rank', { rank: 1 }],
    ['options', null],
  ] as const) {
    assert.throws(() => planGossip(shapes, options as never), new RegExp(`^"${name}"`))
  }
})

test('ResNet20 in a ring of eight: the bytes of the paper', async () => {
  const convolution = (out: number, rest: number, times = 1) => Array(times).fill([out, rest])
  const shapes: number[][] = [
    ...convolution(16, 27),
    ...convolution(16, 144, 6),
    ...[...convolution(32, 144), ...convolution(32, 288, 5), ...convolution(32, 16)],
    ...[...convolution(64, 288), ...convolution(64, 576, 5), ...convolution(64, 32)],
    ...convolution(10, 64),
    ...[16, 32, 64].flatMap((channels) => Array.from({ length: 14 }, () => [channels])),
    [10],
  ]
  assert.is(
    shapes.reduce((sum, shape) => sum + lengthOf(shape), 0),
    272_474,
  )
  assert.is(shapes.length, 65)
  for (const [method, mebibytes] of [
    [plain(), '101.86'],
    [choco({ compression: 'sign', gamma: 0.45 }), '3.21'],
    [deepSqueeze({ compression: 'sign', gamma: 0.01 }), '3.21'],
    [moniqua({ theta: 1 }), '6.37'],
    [powerGossip(), '1.814'],
    [powerGossip({ iterations: 2 }), '3.038'],
  ] as const) {
    const models = [0, 1, 2].map((w) =>
      shapes.map((shape, i) => uniform(lengthOf(shape), 99 * w + i)),
    )
    const net = await createNet(ring(3), shapes, { method }, models)
    let bytes = 0
    for (let t = 0; t < 2; t++) {
      iterate(net, (from, _, frame) => {
        if (from === 0) bytes += frame.length
        return false
      })
    }
    const planned = planGossip(shapes, { method })
    assert.is(planned.bytes, bytes / 2, method.name)
    const epoch = (4 * planned.floats * 49) / 2 ** 20
    assert.is(epoch.toFixed(mebibytes.split('.')[1]!.length), mebibytes, method.name)
  }
})

test.run()
