// Gathered frames: a worker packs its part, and refuses bad parts of others.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Part, ReceivedPart } from '../../src/codec/gathered.ts'
import { dataLength, packData, partError, unpackPart } from '../../src/codec/gathered.ts'
import { FrameError } from '../../src/errors.ts'
import type { Wire } from '../../src/frames.ts'
import { sameFloats } from '../support/close.ts'
import { uniform } from '../support/numbers.ts'

const WIRES: readonly Wire[] = ['f32', 'f16', 'bf16', 'int8']
/** The offset of the data in a supposed frame. */
const AT = 1000

const test = suite('gathering')

for (const wire of WIRES) {
  for (const [words, columns] of [
    [3, [5, 70, 2]],
    [0, [1]],
    [2, []],
    [0, []],
  ] as const) {
    test(`${wire}: ${words} words and ${columns.length} columns come back as packed`, () => {
      const { given, floats, data } = packed(wire, words, columns)
      assert.is(data.length % 4, 0)
      const part = unpack(data, wire)
      assert.equal([part.sender, part.weight], [7, 2.5])
      assert.equal(part.words, given.words)
      // The packer's own floats become the values that others read.
      sameFloats(part.floats, given.floats, 'decoded floats')
      const error = { f32: 0, f16: 2 ** -11, bf16: 2 ** -8, int8: 0.5 / 127 }[wire]
      for (const [i, x] of floats.entries()) assert.ok(Math.abs(part.floats[i]! - x) <= error)
    })
  }

  test(`${wire}: no truncation passes, at any alignment`, () => {
    const { data } = packed(wire, 3, [5, 70, 2])
    const shifted = new Uint8Array(data.length + 3)
    for (let shift = 0; shift < 4; shift++) {
      shifted.set(data, shift)
      assert.is(unpack(shifted.subarray(shift, shift + data.length), wire).floats.length, 77)
      for (let length = 0; length < data.length; length++) {
        refuses(shifted.subarray(shift, shift + length), wire, AT, AT + data.length)
      }
    }
  })

  test(`${wire}: no longer data passes`, () => {
    const { data } = packed(wire, 3, [5, 70, 2])
    for (const more of [1, 2, 3, 4, 8]) {
      refuses(Uint8Array.of(...data, ...new Uint8Array(more)), wire, AT, AT)
    }
  })

  test(`${wire}: counts that the bytes do not hold are refused, however large`, () => {
    const { data } = packed(wire, 3, [5, 70, 2])
    for (const [at, value] of [
      [0, 2],
      [0, 4],
      [0, 0xffffffff],
      [4, 76 - 4],
      [4, 78 + 4],
      [4, 0xffffffff],
    ] as const) {
      const bad = data.slice()
      new DataView(bad.buffer).setUint32(at, value, true)
      refuses(bad, wire, AT, AT + data.length)
    }
  })
}

for (const [wire, bytes] of [
  ['f32', [0, 0, 0x80, 0x7f]],
  ['f32', [0, 0, 0x80, 0x5f]], // 2⁶⁴
  ['bf16', [0x80, 0x5f]],
  ['f32', [1, 0, 0xc0, 0xff]],
  ['f16', [0, 0x7c]], // after the heads of three blocks
  ['bf16', [0x80, 0xff]],
] as const) {
  test(`${wire}: a value of bytes ${bytes} is refused, with its place`, () => {
    const { data } = packed(wire, 3, [5, 70, 2])
    const at = 8 + 4 * 3 + (wire === 'f16' ? 2 * 2 : 0) + bytes.length * 6
    data.set(bytes, at)
    refuses(data, wire, AT + at, AT + at, /sender 7: a value is not finite/)
  })
}

test('int8: a scale that is not finite, or negative, is refused, with its place', () => {
  for (const scale of [Number.NaN, Number.POSITIVE_INFINITY, -1]) {
    const { data } = packed('int8', 3, [5, 70, 2])
    const at = 8 + 4 * 3 + 1
    new DataView(data.buffer).setFloat32(at, scale, true)
    refuses(data, 'int8', AT + at, AT + at)
  }
})

test('padding is zero', () => {
  const { data } = packed('f16', 1, [4])
  assert.is(data.length, dataLength(1, 10))
  for (const at of [data.length - 2, data.length - 1]) {
    const bad = data.slice()
    bad[at] = 1
    refuses(bad, 'f16', AT + at, AT + at, /padding/)
  }
})

test('an error names the sender, and the place in the frame', () => {
  const { data } = packed('f32', 1, [2])
  const error = partError({ sender: 7, weight: 2.5, type: 'f32', data, at: AT }, 'too red', 4)
  assert.is(error.byte, AT + 4)
  assert.match(error.message, 'part of sender 7: too red')
})

test('floats that are not finite, or not below 2⁶⁴, are not packed', () => {
  for (const bad of [Number.NaN, Number.NEGATIVE_INFINITY, 2 ** 64]) {
    const own = { words: new Uint32Array(1), floats: Float32Array.of(1, bad), columns: [2] }
    for (const wire of WIRES) {
      assert.is(packData(wire, own), null)
    }
    sameFloats(own.floats, Float32Array.of(1, bad), 'own floats')
  }
})

test.run()

/** @returns the arrays given to pack, now decoded; the floats before; the data */
function packed(wire: Wire, words: number, columns: readonly number[]) {
  const floats = uniform(
    columns.reduce((a, b) => a + b, 0),
    words + columns.length,
  )
  const given = {
    words: Uint32Array.from({ length: words }, (_, i) => 0xffffffff - 7 * i),
    floats: floats.slice(),
    columns,
  }
  const data = packData(wire, given)
  assert.ok(data)
  return { given, floats, data }
}

function unpack(data: Uint8Array, type: Wire): Part {
  const packedPart: ReceivedPart = { sender: 7, weight: 2.5, type, data, at: AT }
  return unpackPart(packedPart)
}

function refuses(
  data: Uint8Array,
  wire: Wire,
  from: number,
  to: number,
  message = /part of/,
): void {
  const error = errorOf(() => unpack(data, wire))
  assert.match(error.message, message)
  assert.ok(error.byte >= from && error.byte <= to, `byte ${error.byte} of ${from} … ${to}`)
}

function errorOf(call: () => unknown): FrameError {
  try {
    call()
  } catch (error) {
    assert.instance(error, FrameError)
    return error as FrameError
  }
  throw new Error('nothing was thrown')
}
