import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { aggregate } from '../../src/codec/aggregate.ts'
import { beginFrame, decodeFrame, readHeader, sealFrame } from '../../src/codec/frame.ts'
import { partsOf } from '../../src/codec/gathered.ts'
import { headerLength } from '../../src/codec/header.ts'
import { inspect } from '../../src/codec/inspect.ts'
import { assertSameCut } from '../../src/codec/match.ts'
import { wireType } from '../../src/codec/wire/index.ts'
import { FrameError } from '../../src/errors.ts'
import {
  bytesOf,
  frameOf,
  fromHex,
  gatheredOf,
  partOf,
  random,
  refuses,
  shifted,
  spoil,
  wordPartOf,
} from '../support/bytes.ts'
import { same } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const test = suite('frame')

// Bytes as version 1 writes them. They never change: every later version must read them, but for
// type 1, which nobody had when it was given up.
const LAYOUT_PARENT = '01020304 05060708 0b0c0d0e 0f101112'
const GOLDEN = {
  f32: `4c524743 9fa6cb91 01000001 07000000 ${LAYOUT_PARENT} 00000000 00000440
    02000000 03000000 01000000 03000000 00000000 03000000 03000000 09000000 0000003f
    02000000 01000000 0000803f 000020c0 cdcccc3d`,
  f16: `4c524743 4a83d76c 01000401 07000000 ${LAYOUT_PARENT} 00000000 0000f03f
    01000000 01000000 00000000 03000000 00000000 03000000 00000000 02000000
    02f20074 00f96666`,
  bf16: `4c524743 1b3f8523 01000201 07000000 ${LAYOUT_PARENT} 00000000 0000f03f
    01000000 00000000 00000000 03000000 00000000 03000000 00000000 803f20c0 cd3d`,
  int8: `4c524743 78a04b09 01000301 07000000 ${LAYOUT_PARENT} 00000000 0000f03f
    01000000 01000000 00000000 04000000 00000000 04000000 00000000 02000000
    020000803f7ffd01 000402813b81`,
  gathered: `4c524743 7416319b 01010001 07000000 ${LAYOUT_PARENT} 00000000 00000440
    02000000 01000000 00000000 01000000 00000000 01000000 01000000 04000000 02000000
    00000000 0000e03f 08000000 00000000 07000000 08000000
    00000000 00000040 04000000 04000000 09000000`,
  zero: `4c524743 d1d54040 01000001 07000000 ${LAYOUT_PARENT} 00000000 00000000
    00000000 01000000 00000000 02000000 00000000 02000000 02000000 00000000 00000000`,
}

function valuesOf(bytes: Uint8Array): Float32Array {
  const frame = decodeFrame(bytes)
  const values = new Float32Array(frame.count).fill(Number.NaN)
  wireType(frame.type).decode(frame.values, frame.count, values)
  return values
}

test('golden: f32, with every field of the header', () => {
  const frame = decodeFrame(fromHex(GOLDEN.f32))
  assert.is(frame.kind, 'summed')
  assert.is(frame.type, 'f32')
  assert.is(frame.round, 1)
  assert.is(frame.step, 7)
  same(frame.configHash, [1, 2, 3, 4, 5, 6, 7, 8])
  same(frame.parent, [11, 12, 13, 14, 15, 16, 17, 18])
  assert.is(frame.weight, 2.5)
  same(frame.senders, [3, 9])
  same(frame.ranks, [2, 0, 1])
  same(frame.scalars, [0.5])
  assert.is(frame.total, 3)
  assert.is(frame.offset, 0)
  assert.is(frame.count, 3)
  assert.is(frame.valuesAt, 84)
  assert.is(frame.checksum, 0x91cba69f)
  same(valuesOf(fromHex(GOLDEN.f32)), [1, -2.5, Math.fround(0.1)])
})

test('golden: the other types', () => {
  same(valuesOf(fromHex(GOLDEN.f16)), [1, -2.5, 1638 * 2 ** -14])
  same(valuesOf(fromHex(GOLDEN.bf16)), [1, -2.5, 205 * 2 ** -11])
  same(valuesOf(fromHex(GOLDEN.int8)), [127, -3, 1, Math.fround(-127 * Math.fround(0.5 / 127))])
  same(valuesOf(fromHex(GOLDEN.zero)), [0, 0])
  assert.is(decodeFrame(fromHex(GOLDEN.zero)).weight, 0)
})

test('golden: gathered', () => {
  const frame = decodeFrame(fromHex(GOLDEN.gathered))
  assert.is(frame.kind, 'gathered')
  assert.is(frame.weight, 2.5)
  const [first, second, ...more] = partsOf(frame)
  assert.is(more.length, 0)
  assert.is(first!.sender, 1)
  assert.is(first!.weight, 0.5)
  assert.is(first!.type, 'f32')
  same(first!.data, [7, 0, 0, 0, 8, 0, 0, 0])
  assert.is(second!.sender, 4)
  assert.is(second!.weight, 2)
  assert.is(second!.type, 'f16')
  same(second!.data, [9, 0, 0, 0])
})

test('golden: is what the encoder writes', () => {
  const values = [1, -2.5, 0.1]
  const full = { weight: 2.5, senders: [3, 9], ranks: [2, 0, 1], scalars: [0.5] }
  same(frameOf(values, full), fromHex(GOLDEN.f32))
  same(frameOf(values, { type: 'f16' }), fromHex(GOLDEN.f16))
  same(frameOf(values, { type: 'bf16', ranks: [] }), fromHex(GOLDEN.bf16))
  same(frameOf([127, -3, 1, -0.5], { type: 'int8', segments: [3, 1] }), fromHex(GOLDEN.int8))
  same(frameOf([0, 0], { weight: 0 }), fromHex(GOLDEN.zero))
  const second = { ...partOf(4, 2, [9]), type: 'f16' as const }
  same(gatheredOf([partOf(1, 0.5, [7, 8]), second]), fromHex(GOLDEN.gathered))
})

test('a frame without values, parameters or scalars is one of 68 bytes', () => {
  const bytes = frameOf([], { ranks: [] })
  assert.is(bytes.length, 68)
  assert.is(decodeFrame(bytes).count, 0)
})

test('beginFrame gives views of one buffer, aligned to 4', () => {
  for (const [senders, ranks, scalars] of [
    [0, 0, 0],
    [3, 1, 2],
    [2, 5, 0],
  ] as const) {
    const { bytes, values, floats } = beginFrame(
      {
        ...readHeader(frameOf([1, 2, 3])),
        senders: Uint32Array.from({ length: senders }, (_, i) => i),
        ranks: new Uint16Array(ranks),
        scalars: new Float32Array(scalars),
      },
      12,
    )
    assert.is(values.byteOffset, headerLength(senders, ranks, scalars))
    assert.is(values.byteOffset % 4, 0)
    floats!.set([4, 5, 6])
    same(valuesOf(sealFrame(bytes)), [4, 5, 6])
  }
})

test('reads at any alignment, and from a Buffer', () => {
  const values = gaussian(101, 1)
  for (const type of ['f32', 'f16', 'bf16', 'int8'] as const) {
    const bytes = frameOf(values, { type, senders: [1, 2], weight: 3, scalars: [4] })
    const want = valuesOf(bytes)
    for (const shift of [1, 2, 3]) {
      same(valuesOf(shifted(bytes, shift)), want)
      same(decodeFrame(shifted(bytes, shift)).senders, [1, 2])
    }
    same(valuesOf(Buffer.concat([Buffer.alloc(1), bytes]).subarray(1)), want)
  }
})

test('what it returns survives the bytes, but for the values', () => {
  const bytes = Buffer.from(fromHex(GOLDEN.f32))
  const frame = decodeFrame(bytes)
  bytes.fill(0)
  same(frame.parent, [11, 12, 13, 14, 15, 16, 17, 18])
  same(frame.senders, [3, 9])
  same(frame.scalars, [0.5])
})

test('a thing that is no Uint8Array is a TypeError', () => {
  for (const thing of [
    null,
    undefined,
    'LRGC',
    [1, 2],
    new ArrayBuffer(80),
    new Float32Array(20),
  ]) {
    assert.throws(() => decodeFrame(thing as unknown as Uint8Array), TypeError)
    assert.throws(() => inspect(thing as unknown as Uint8Array), TypeError)
  }
})

test('every truncation and every extension is refused', () => {
  for (const [name, hex] of Object.entries(GOLDEN)) {
    const whole = fromHex(hex)
    for (let length = 0; length < whole.length; length++) {
      const cut = whole.slice(0, length)
      if (length >= 8) sealFrame(cut)
      refuses(() => decodeFrame(cut), length < 64 ? length : byteOf(cut), /./, `${name} ${length}`)
    }
    const longer = new Uint8Array(whole.length + 4)
    longer.set(whole)
    refuses(() => decodeFrame(sealFrame(longer)), whole.length, /bytes/, `${name}, longer`)
  }
})

/**
 * The byte that a refused frame's error names; checked here: it lies in the frame or at its end.
 */
function byteOf(bytes: Uint8Array): number {
  try {
    decodeFrame(bytes)
  } catch (error) {
    const { byte } = error as { byte: number }
    assert.ok(byte >= 40 && byte <= bytes.length, `byte ${byte} of ${bytes.length}`)
    return byte
  }
  return assert.unreachable('the frame is taken for whole')!
}

test('every flipped bit is refused', () => {
  for (const [name, hex] of Object.entries(GOLDEN)) {
    const whole = fromHex(hex)
    for (let bit = 0; bit < 8 * whole.length; bit++) {
      whole[bit >> 3]! ^= 1 << (bit & 7)
      assert.throws(
        () => decodeFrame(whole),
        (error: Error) => error.name === 'FrameError',
        `${name}, bit ${bit}`,
      )
      whole[bit >> 3]! ^= 1 << (bit & 7)
    }
    decodeFrame(whole)
  }
})

const NAN = bytesOf('f32', Number.NaN)
const HUGE = bytesOf('u32', 0xffffffff)
const summed = frameOf([1, 2, 3], { senders: [3, 9], ranks: [2, 0, 1], scalars: [0.5] })
const later = frameOf([1, 2], { total: 9, offset: 4, count: 2 })
const nobody = frameOf([0, 0], { weight: 0 })
const bytewise = frameOf([127, -3, 1, -0.5], { type: 'int8', segments: [3, 1] }) // values at 72
const halves16 = frameOf([127, -3, 1, -0.5], { type: 'f16', segments: [3, 1] }) // values at 72
const pieces = gatheredOf([partOf(1, 0.5, [7, 8]), partOf(4, 2, [9])]) // parts at 76 and 100
const cases: [string, Uint8Array, number, number[], number, RegExp][] = [
  ['magic', summed, 0, [0x58], 0, /not a frame/],
  ['version 0', summed, 8, [0], 8, /version: expected 1, got 0/],
  ['version 2', summed, 8, [2], 8, /version/],
  ['kind', summed, 9, [2], 9, /kind: expected 0 or 1, got 2/],
  ['type', summed, 10, [5], 10, /type: expected 0, 2, 3, 4, got 5/],
  ['type 1', summed, 10, [1], 10, /type 1, the f16 without a scale, is no longer read/],
  ['type of a gathered frame', pieces, 10, [2], 10, /type: expected 0, got 2/],
  ['weight NaN', summed, 32, bytesOf('f64', Number.NaN), 32, /weight/],
  ['weight ∞', summed, 32, bytesOf('f64', Number.POSITIVE_INFINITY), 32, /weight/],
  ['weight < 0', summed, 32, bytesOf('f64', -1), 32, /weight/],
  ['weight −0', nobody, 32, bytesOf('f64', -0), 32, /weight/],
  ['weight too small', summed, 32, bytesOf('f64', 2 ** -150), 32, /weight/],
  ['weight too large', summed, 32, bytesOf('f64', 2 ** 161), 32, /weight/],
  ['weight 0 with senders', summed, 32, bytesOf('f64', 0), 40, /weight 0, but 2 senders/],
  ['weight and senders 0', later, 32, new Array<number>(12).fill(0), 76, /length/],
  ['number of senders', summed, 40, HUGE, summed.length, /length/],
  ['number of ranks', summed, 44, HUGE, summed.length, /length/],
  ['one rank less', summed, 44, [2], 92, /length/],
  ['number of scalars', summed, 48, HUGE, summed.length, /length/],
  ['scalars in a later slice', later, 48, [1], 48, /offset 0/],
  ['total < count', summed, 52, [2], 60, /count: expected 1 … 2, got 3/],
  ['offset > total', later, 56, [10], 56, /offset: expected 0 … 9, got 10/],
  ['offset + count > total', later, 56, [8], 60, /count: expected 1 … 1, got 2/],
  ['count 0', summed, 60, [0], 60, /count: expected 1 … 3, got 0/],
  ['count > total', summed, 60, HUGE, 60, /count/],
  ['counts past 2³²', summed, 52, [...HUGE, 0, 0, 0, 0, ...HUGE], summed.length, /length/],
  ['senders equal', summed, 68, [3], 68, /3 follows 3/],
  ['senders descending', summed, 64, [10], 68, /9 follows 10/],
  ['scalar NaN', summed, 72, NAN, 72, /scalar/],
  ['padding', summed, 82, [1], 82, /padding/],
  ['value NaN', summed, 88, NAN, 88, /not finite/],
  ['value ∞', summed, 92, bytesOf('f32', Number.NEGATIVE_INFINITY), 92, /not finite/],
  ['a value, weight 0', nobody, 72, [1], 72, /weight 0/],
  ['int8: block too long', bytewise, 72, [64], 72, /blocks/],
  ['int8: block past count', bytewise, 80, [1], 80, /blocks/],
  ['int8: blocks end early', bytewise, 52, [6, 0, 0, 0, 0, 0, 0, 0, 6], 86, /blocks/],
  ['int8: scale NaN', bytewise, 73, NAN, 73, /not finite/],
  ['int8: scale < 0', bytewise, 73, bytesOf('f32', -1), 73, /not finite/],
  ['int8: scale too large', bytewise, 73, bytesOf('f32', 1e37), 73, /not finite/],
  ['f16: block past count', halves16, 80, [1], 80, /blocks/],
  ['f16: blocks end early', halves16, 72, [1], 84, /blocks/],
  ['f16: exponent too large', halves16, 73, [49], 73, /not finite/],
  ['f16: exponent too small', halves16, 73, [0x82], 73, /not finite/],
  ['gathered: no slices', pieces, 52, [0], 52, /slices/],
  ['gathered: no such slice', pieces, 56, [1], 60, /count/],
  ['gathered: count', pieces, 60, [2], 60, /count/],
  ['gathered: weight', pieces, 32, bytesOf('f64', 2), 32, /parts' sum is 2.5/],
  ['part of weight 0', pieces, 76, bytesOf('f64', 0), 76, /float32 > 0/],
  ['part, weight no float32', pieces, 76, bytesOf('f64', 0.1), 76, /float32 > 0/],
  ['part, length odd', pieces, 84, [7], 84, /multiple of 4/],
  ['part, length too large', pieces, 84, [0xfc, 255, 255, 255], 84, /multiple of 4/],
  ['part, length too small', pieces, 84, [4], 96, /./],
  ['part, type', pieces, 88, [5], 88, /part 0, type: expected 0, 2, 3, 4, got 5/],
  ['part, type 1', pieces, 88, [1], 88, /part 0, type 1, the f16 without a scale, is no longer/],
  ['part, padding', pieces, 89, [1], 89, /padding/],
]

for (const [name, whole, at, bytes, byte, message] of cases) {
  test(`spoilt: ${name}`, () => {
    decodeFrame(whole)
    refuses(() => decodeFrame(spoil(whole, at, bytes)), byte, message)
  })
}

test('spoilt: checksum', () => {
  const spoilt = summed.slice()
  spoilt[4]! ^= 1
  refuses(() => decodeFrame(spoilt), 4, /checksum: the bytes give [0-9a-f]{8}, the frame says/)
  readHeader(spoilt) // which does not check it
})

test('spoilt: f16 and bf16 that are not finite', () => {
  const halves = frameOf([1, 2], { type: 'f16' })
  refuses(() => decodeFrame(spoil(halves, 76, [0, 0x7c])), 76, /not finite/)
  const brains = frameOf([1, 2], { type: 'bf16' })
  refuses(() => decodeFrame(spoil(brains, 72, [0xc0, 0xff])), 72, /not finite/)
})

test('sealed nonsense is refused with a FrameError, or can be read and aggregated', () => {
  const next = random(20261122)
  // The data of the golden gathered frame are no part's.
  const { gathered: _, ...others } = GOLDEN
  const frames = [...Object.values(others).map(fromHex), gatheredOf([wordPartOf(1, 2, [3])])]
  const whole: Uint8Array[] = []
  let readable = 0
  for (let i = 0; i < 20000; i++) {
    const bytes = frames[i % frames.length]!.slice()
    for (let k = 0; k < 1 + (i % 3); k++) {
      // Small numbers are more dangerous.
      const byte = next() < 0.5 ? next() * 4 : next() * 256
      bytes[8 + Math.floor(next() * (bytes.length - 8))] = Math.floor(byte)
    }
    try {
      const { kind, weight, senders, total } = decodeFrame(sealFrame(bytes))
      // A frame with a weight but without senders is anonymous. `aggregate` checks parts, too.
      if (kind === 'gathered' && total === 1) aggregate([bytes])
      else if (weight === 0 || senders.length > 0) whole.push(bytes)
    } catch (error) {
      assert.instance(error, FrameError, String(error))
      const { byte } = error as FrameError
      assert.ok(byte >= 8 && byte <= bytes.length, String(error))
      continue
    }
    readable++
  }
  for (const bytes of whole) decodeFrame(aggregate([bytes]))
  assert.ok(readable > 1000 && readable < 19000, `${readable} of 20000 could be read`)
})

test('a gathered frame with a weight needs a sender', () => {
  const empty = gatheredOf([])
  assert.is(decodeFrame(empty).weight, 0)
  refuses(() => decodeFrame(spoil(empty, 32, bytesOf('f64', 1))), 40, /no sender/)
})

test('inspect gives plain data, without looking at checksum or values', () => {
  const bytes = frameOf([1, 2, 3], {
    weight: 2.5,
    senders: [3, 9],
    ranks: [2, 0, 1],
    scalars: [0.5],
    total: 10,
  })
  bytes.fill(0xff, 84)
  assert.equal(inspect(bytes), {
    version: 1,
    kind: 'summed',
    type: 'f32',
    step: 7,
    round: 1,
    configHash: '0102030405060708',
    parent: '0b0c0d0e0f101112',
    weight: 2.5,
    senders: [3, 9],
    ranks: [2, 0, 1],
    scalars: [0.5],
    slice: { offset: 0, count: 3, total: 10 },
    bytes: 96,
  })
})

test('assertSameCut names the first field that differs, what was expected and what came', () => {
  const wishes = { senders: [1], ranks: [2, 1], total: 9, offset: 0 }
  const usual = readHeader(frameOf([1, 2, 3], wishes))
  const hash = new Uint8Array(8)
  const unlike: [object, number, RegExp][] = [
    [{ step: 8, configHash: hash }, 12, /step: expected 7, got 8/],
    [{ round: 0 }, 11, /round: expected 1, got 0/],
    [
      { configHash: hash },
      16,
      /configHash: expected 0102030405060708, got 0{16}: workers disagree on sh/,
    ],
    [{ parent: hash }, 24, /parent: expected 0b.*12, got 0{16}: .*histories differ/],
    [{ ranks: [2] }, 44, /ranks: expected 2 of them, got 1/],
    [{ ranks: [2, 4] }, 70, /rank of parameter 1: expected 1, got 4/],
    [{ total: 10 }, 52, /total: expected 9, got 10/],
    [{ offset: 6 }, 56, /offset: expected 0, got 6/],
    [{ scalars: [1] }, 48, /scalars: expected 0, got 1/],
  ]
  for (const [wish, byte, message] of unlike) {
    const other = readHeader(frameOf([1, 2, 3], { ...wishes, ...wish }))
    refuses(() => assertSameCut(usual, other), byte, message)
  }
  refuses(
    () => assertSameCut(usual, readHeader(frameOf([1, 2], wishes))),
    60,
    /count: expected 3, got 2/,
  )
  refuses(
    () => assertSameCut(usual, readHeader(gatheredOf([], { ranks: [2, 1] }))),
    9,
    /kind: expected/,
  )
  assertSameCut(usual, readHeader(frameOf([7, 8, 9], { ...wishes, senders: [5], type: 'f16' })))
})

test.run()
