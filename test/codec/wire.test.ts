import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Wire } from '../../src/codec/wire/index.ts'
import { WIRES, wireType, wireTypeOf } from '../../src/codec/wire/index.ts'
import { random, shifted } from '../support/bytes.ts'
import { same, sameBytes, within } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const test = suite('floats')

/** The largest float32 that frames carry, the one below 2⁶⁴. */
const MAX = 2 ** 64 - 2 ** 40

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

/** A block of f16 codes with this exponent. */
function block16(exponent: number, halves: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(Uint16Array.of(0, ...halves).buffer)
  bytes.set([halves.length - 1, exponent])
  return bytes
}

const EXPONENTS = [-125, -124, -101, -100, -15, 0, 1, 47, 48]

test('f16: every finite code times every power of two is a float32, and comes back as it was', () => {
  const all = Array.from({ length: 65536 }, (_, code) => code)
  const finite = all.filter((code) => ((code >> 10) & 31) !== 31)
  assert.is(finite.length, 63488)
  for (const exponent of EXPONENTS) {
    for (let from = 0; from < finite.length; from += 255) {
      // The first code, of the last binade, makes the exponent what it is.
      const block = [0x7800, ...finite.slice(from, from + 255)]
      const bytes = block16(exponent, block)
      const values = decoded('f16', bytes, block.length)
      const want = block.map((code) => meaning16(code) * 2 ** exponent)
      assert.ok(want.every((x) => Math.fround(x) === x))
      same(values, want)
      same(encoded('f16', values), bytes)
    }
  }
})

test('f16: rounds to nearest, ties to even, between all neighbours, at any scale', () => {
  for (const exponent of [-120, -101, -100, -30, 0, 48]) {
    const unit = 2 ** exponent
    for (let code = 0; code < 0x7bff; code += exponent === 0 ? 1 : 97) {
      const [low, high] = [meaning16(code), meaning16(code + 1)]
      const half = (low + high) / 2 // exact in float32
      const even = code % 2 === 0 ? code : code + 1
      const below = Math.max(half - half * 2 ** -23, low)
      const above = Math.min(half + half * 2 ** -23, high)
      const bytes = encoded(
        'f16',
        [32768, half, -half, below, above].map((x) => x * unit),
      )
      const want = [0x7800, even, even | 0x8000, code, code + 1]
      // Between subnormals of float32 there is nothing to round.
      if (exponent + Math.log2(half) < -126) continue
      sameBytes(bytes, block16(exponent, want), `around ${half} · 2^${exponent}`)
    }
  }
})

test('f16: the exponent takes the largest value to the last binade of float16', () => {
  const top = 2 ** 64 * (1 - 2 ** -24)
  const cases: [number, number, number][] = [
    [1, -15, 0x7800],
    [-1.9990234375, -15, 0xfbff], // 65504 / 32768
    [2 * (1 - 2 ** -12) - 2 ** -23, -15, 0x7bff],
    [2 * (1 - 2 ** -12), -14, 0x7800], // the tie goes to even, the next power of two
    [65504, 0, 0x7bff],
    [65536, 1, 0x7800],
    [2 ** 63, 48, 0x7800],
    [top, 48, 0x7bff], // not rounded up to 2⁶⁴
    [-top, 48, 0xfbff],
    [2 ** -110, -125, 0x7800],
    [2 ** -111, -125, 0x7400],
    [2 ** -126, -125, 0x3800],
    [2 ** -149, -125, 1],
    [-(2 ** -149), -125, 0x8001],
    [0, 0, 0],
    [-0, 0, 0x8000],
  ]
  for (const [value, exponent, code] of cases) {
    sameBytes(encoded('f16', [value]), block16(exponent, [code]), String(value))
  }
  same(encoded('f16', [0, -0, 0]), block16(0, [0, 0x8000, 0]))
})

test('f16: small values beside large ones underflow to zero, with their sign', () => {
  const values = [1, 2 ** -40, -(2 ** -40), 1.001 * 2 ** -40, 2 ** -149, -(2 ** -149)]
  same(encoded('f16', values), block16(-15, [0x7800, 0, 0x8000, 1, 0, 0x8000]))
})

test('f16: blocks of 256, none of which spans two columns', () => {
  const values = gaussian(1000, 6).map((x, i) => x * 2 ** (i < 300 ? 20 : -20))
  const segments = [300, 1, 0, 512, 187]
  const bytes = encoded('f16', values, segments)
  assert.is(bytes.length, 2 * 1000 + 2 * (2 + 1 + 2 + 1))
  same([bytes[0]!, bytes[514]!, bytes[604]!, bytes[608]!], [255, 43, 0, 255])
  assert.is(wireType('f16').lengthIn(bytes, 1000), bytes.length)
  const got = decoded('f16', bytes, 1000)
  within(got, values, (i) => 2 ** -11 * Math.abs(values[i]!))
})

/** The largest error of a value, relative to the largest value of its segment. */
const ERRORS: Readonly<Record<Wire, number>> = {
  f32: 0,
  f16: 2 ** -11,
  bf16: 2 ** -8,
  int8: 1 / 127,
}

for (const wire of WIRES) {
  test(`${wire}: does not depend on the unit: nothing saturates below 2⁶⁴, nothing is flushed`, () => {
    const most = 1 - 2 ** -24
    const next = random(11)
    for (let scale = -100; scale <= 64; scale++) {
      for (const n of [1, 5, 64, 300]) {
        // The largest value is just below a power of two, or anything.
        const values = Float32Array.from({ length: n }, () => (2 * next() - 1) * 2 ** scale)
        if (scale % 2 === 0) values[n - 1] = -most * 2 ** scale
        const size = Math.max(...values.map(Math.abs))
        const bytes = encoded(wire, values)
        assert.is(wireType(wire).lengthIn(bytes, n), bytes.length)
        assert.is(wireType(wire).firstInvalid(bytes, n), -1, `2^${scale}`)
        const got = decoded(wire, bytes, n)
        assert.ok(got.every((x) => Math.abs(x) < 2 ** 64))
        within(got, values, () => ERRORS[wire] * size, `${n} values of scale 2^${scale}`)
      }
    }
  })
}

test('ids are unique, and that of the f16 without a scale is not given again', () => {
  const ids = WIRES.map((wire) => wireType(wire).id)
  assert.is(new Set(ids).size, ids.length)
  assert.equal([...ids].sort(), [0, 2, 3, 4])
  assert.is(wireTypeOf(1), undefined)
})

test('bf16: every code below 2⁶⁴ comes back; ties go to even; it saturates', () => {
  const all = Array.from({ length: 65536 }, (_, code) => code)
  const finite = all.filter((code) => (code & 0x7fff) < 0x5f80)
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
    0x5f7fffff,
    0xdf7f8000,
  )
  const got = codes('bf16', new Float32Array(bits.buffer))
  same(got, [0x3f80, 0x3f82, 0x3f81, 0x3f80, 0x5f7f, 0xdf7f])
})

test('int8: errs by at most half a scale, which is max / 127 of its block', () => {
  const segments = [1, 63, 64, 65, 200, 5]
  for (const scale of [1, 1e-30, 1e18, 1e-40, 1e-44]) {
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

test('int8: ties to even; zeros; the largest numbers stay below 2⁶⁴', () => {
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

test('finds the first value that is not finite, or not below 2⁶⁴, wherever it is', () => {
  for (const bad of [Number.NaN, Number.NEGATIVE_INFINITY, 2 ** 64, -(2 ** 64), 2 ** 127]) {
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
  for (let n = 1; n < 12; n++) {
    for (let i = 0; i < n; i++) {
      for (const exponent of [-125, 48]) {
        const halves = new Array<number>(n).fill(0xfbff)
        // A second block, so that codes lie at even and odd places.
        const two = () => [...block16(exponent, halves), ...block16(exponent, halves)]
        assert.is(wireType('f16').firstInvalid(Uint8Array.from(two()), 2 * n), -1)
        halves[i] = 0x7c00
        halves[n - 1] = 0xfe01
        assert.is(wireType('f16').firstInvalid(Uint8Array.from(two()), 2 * n), 2 + 2 * i)
        const second = [...block16(0, new Array(n).fill(1)), ...block16(exponent, halves)]
        assert.is(wireType('f16').firstInvalid(Uint8Array.from(second), 2 * n), 4 + 2 * n + 2 * i)
      }
    }
  }
  for (const exponent of [-128, -126, 49, 127]) {
    assert.is(wireType('f16').firstInvalid(block16(exponent, [0, 0]), 2), 1)
  }
  const brains = new Uint8Array(Uint16Array.of(0xdf7f, 0x5f80).buffer)
  assert.is(wireType('bf16').firstInvalid(brains, 2), 2)
})

test('finds the first value that is not zero', () => {
  for (let i = 0; i < 9; i++) {
    const values = new Float32Array(9).fill(-0)
    assert.is(wireType('f32').firstInvalid(new Uint8Array(values.buffer), 9, true), -1)
    values[i] = -1e-45
    assert.is(wireType('f32').firstInvalid(new Uint8Array(values.buffer), 9, true), 4 * i)
  }
  assert.is(wireType('f16').firstInvalid(block16(0, [0, 0x8000]), 2, true), -1)
  assert.is(wireType('f16').firstInvalid(block16(0, [0x8000, 1, 0]), 3, true), 4)
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
