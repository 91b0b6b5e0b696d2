import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Wire } from '../../src/codec/wire/index.ts'
import { wireType } from '../../src/codec/wire/index.ts'
import { random, shifted } from '../support/bytes.ts'
import { same } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const test = suite('floats')

const MAX = 2 ** 127 * (2 - 2 ** -23)

function encoded(wire: Wire, values: ArrayLike<number>, segments = [values.length]): Uint8Array {
  const bytes = new Uint8Array(wireType(wire).encodedLength(segments))
  wireType(wire).encode(Float32Array.from(values), segments, bytes)
  return bytes
}

function decoded(wire: Wire, bytes: Uint8Array, count: number): Float32Array {
  const values = new Float32Array(count).fill(Number.NaN)
  wireType(wire).decode(bytes, count, values)
  return values
}

function codes(wire: Wire, values: ArrayLike<number>): number[] {
  const bytes = encoded(wire, values)
  return Array.from({ length: values.length }, (_, i) => bytes[2 * i]! + 256 * bytes[2 * i + 1]!)
}

/** The value of an f16, from the definition in IEEE 754. */
function meaning16(code: number): number {
  const [exponent, fraction] = [(code >> 10) & 31, code & 1023]
  const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15)
  return code & 0x8000 ? -size : size
}

test('f16: every finite code means what IEEE 754 says, and comes back as it was', () => {
  const all = Array.from({ length: 65536 }, (_, code) => code)
  const finite = all.filter((code) => ((code >> 10) & 31) !== 31)
  assert.is(finite.length, 63488)
  const bytes = new Uint8Array(Uint16Array.from(finite).buffer)
  const values = decoded('f16', bytes, finite.length)
  same(values, finite.map(meaning16))
  same(encoded('f16', values), bytes)
})

test('f16: rounds to nearest, ties to even, between all neighbours', () => {
  for (let code = 0; code < 0x7bff; code++) {
    const [low, high] = [meaning16(code), meaning16(code + 1)]
    const half = (low + high) / 2 // exact in float32
    const even = code % 2 === 0 ? code : code + 1
    const below = Math.max(half - half * 2 ** -23, low)
    const above = Math.min(half + half * 2 ** -23, high)
    const got = codes('f16', [half, -half, below, above])
    if (got[0] !== even || got[1] !== (even | 0x8000) || got[2] !== code || got[3] !== code + 1) {
      assert.unreachable(`around ${half}: got ${got} next to ${code}`)
    }
  }
})

test('f16: saturates, and keeps the sign of zero', () => {
  const values = [65504, 65519.9, 65520, 1e30, -MAX, 0, -0, 2 ** -25, 2 ** -25 * 1.001, -1e-45]
  same(codes('f16', values), [0x7bff, 0x7bff, 0x7bff, 0x7bff, 0xfbff, 0, 0x8000, 0, 1, 0x8000])
})

test('bf16: every finite code comes back; ties go to even; it saturates', () => {
  const all = Array.from({ length: 65536 }, (_, code) => code)
  const finite = all.filter((code) => ((code >> 7) & 255) !== 255)
  const bytes = new Uint8Array(Uint16Array.from(finite).buffer)
  const values = decoded('bf16', bytes, finite.length)
  same(
    new Uint32Array(values.buffer),
    finite.map((code) => code * 65536),
  )
  same(encoded('bf16', values), bytes)
  const bits = Uint32Array.of(
    0x3f808000,
    0x3f818000,
    0x3f808001,
    0x3f807fff,
    0x7f7fffff,
    0xff7f8000,
  )
  const got = codes('bf16', new Float32Array(bits.buffer))
  same(got, [0x3f80, 0x3f82, 0x3f81, 0x3f80, 0x7f7f, 0xff7f])
})

test('int8: errs by at most half a scale, which is max / 127 of its block', () => {
  const segments = [1, 63, 64, 65, 200, 5]
  for (const scale of [1, 1e-30, 1e30, 1e-40, 1e-44]) {
    const values = gaussian(398, 3).map((x) => x * scale)
    const bytes = encoded('int8', values, segments)
    assert.is(bytes.length, 398 + 5 * (1 + 1 + 1 + 2 + 4 + 1))
    assert.is(wireType('int8').lengthIn(bytes, 398), bytes.length)
    const got = decoded('int8', bytes, 398)
    let from = 0
    for (const length of segments) {
      for (let at = from; at < from + length; at += 64) {
        const block = values.subarray(at, Math.min(at + 64, from + length))
        const max = block.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
        // Half a scale, the rounding of the scale (2⁻²⁴, or up to the next subnormal) and of the value.
        const bound = (max / 127) * (0.5 + 2 ** -22) + max * 2 ** -23 + 2 ** -149
        for (const [i, x] of block.entries()) {
          const error = Math.abs(got[at + i]! - x)
          assert.ok(error <= bound, `scale ${scale}, value ${at + i}: ${error} > ${bound}`)
        }
      }
      from += length
    }
  }
})

test('int8: ties to even; zeros; the largest numbers stay finite', () => {
  const view = new Int8Array(encoded('int8', [127, 0.5, 1.5, 2.5, -0.5, -1.5, 0]).buffer)
  same(view.subarray(5), [127, 0, 2, 2, 0, -2, 0])
  same(encoded('int8', [0, 0, 0]), [2, 0, 0, 0, 0, 0, 0, 0])
  const got = decoded('int8', encoded('int8', [MAX, -MAX]), 2)
  same(got, [Math.fround(127 * (MAX / 128)), -Math.fround(127 * (MAX / 128))])
})

test('int8: one block never spans two columns', () => {
  const bytes = encoded('int8', [1, 2, 100, 200], [2, 0, 2])
  same([bytes[0]!, bytes[7]!], [1, 1])
  assert.is(bytes.length, 14)
  assert.ok(Math.abs(decoded('int8', bytes, 4)[0]! - 1) <= 2 / 254 + 2 ** -20)
})

test('decodes at any alignment', () => {
  for (const wire of ['f32', 'f16', 'bf16', 'int8'] as const) {
    const bytes = encoded(wire, gaussian(100, 4))
    const want = decoded(wire, bytes, 100)
    for (const shift of [1, 2, 3]) same(decoded(wire, shifted(bytes, shift), 100), want)
  }
})

test('finds the first value that is not finite, wherever it is', () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for (let n = 1; n < 12; n++) {
      for (let i = 0; i < n; i++) {
        const values = new Float32Array(n).fill(-MAX)
        assert.is(wireType('f32').firstInvalid(new Uint8Array(values.buffer), n), -1)
        values[i] = bad
        values[n - 1] = bad
        assert.is(wireType('f32').firstInvalid(new Uint8Array(values.buffer), n), 4 * i)
      }
    }
  }
  const halves = new Uint8Array(Uint16Array.of(0x7bff, 0xfc00, 0x7e00).buffer)
  assert.is(wireType('f16').firstInvalid(halves, 3), 2)
  assert.is(wireType('f16').firstInvalid(halves, 1), -1)
  const brains = new Uint8Array(Uint16Array.of(0xff7f, 0x7f80).buffer)
  assert.is(wireType('bf16').firstInvalid(brains, 2), 2)
})

test('finds the first value that is not zero', () => {
  for (let i = 0; i < 9; i++) {
    const values = new Float32Array(9).fill(-0)
    assert.is(wireType('f32').firstInvalid(new Uint8Array(values.buffer), 9, true), -1)
    values[i] = -1e-45
    assert.is(wireType('f32').firstInvalid(new Uint8Array(values.buffer), 9, true), 4 * i)
  }
  assert.is(wireType('f16').firstInvalid(Uint8Array.of(0, 0x80, 1, 0), 2, true), 2)
  assert.is(wireType('int8').firstInvalid(encoded('int8', [0, 0]), 2, true), -1)
  assert.is(wireType('int8').firstInvalid(encoded('int8', [0, 1e-45]), 2, true), 1)
})

test('f32 keeps every bit', () => {
  const next = random(9)
  const bits = Uint32Array.from({ length: 1000 }, () => Math.floor(next() * 0x7f800000))
  const values = new Float32Array(bits.buffer)
  same(decoded('f32', encoded('f32', values), 1000), values)
})

test.run()
