// The loops of the codec over chunks of frames: a module of its own, so small that browsers compile
// it at once where they are asked to. src/codec has the same loops in JavaScript, for hosts that
// cannot, with the same bits.
//
// All pointers are byte addresses at any alignment. Up to 15 bytes after an operand are read, and
// have no influence.

// Wire types by their numbers in frames, as in src/codec/wire.
const BF16: i32 = 2
const INT8: i32 = 3
const F16: i32 = 4

const INFINITE: i32 = 0x7f800000
/** The bits of 2⁶⁴, the limit of values in frames. */
const LIMIT: i32 = 0x5f800000

/** The four lanes of XXH32 after n bytes, a multiple of 16. */
export function stripes(lanes: usize, x: usize, n: i32): void {
  let a = load<i32>(lanes)
  let b = load<i32>(lanes, 4)
  let c = load<i32>(lanes, 8)
  let d = load<i32>(lanes, 12)
  for (const end = x + <usize>n; x < end; x += 16) {
    a = mixed(a, load<i32>(x))
    b = mixed(b, load<i32>(x, 4))
    c = mixed(c, load<i32>(x, 8))
    d = mixed(d, load<i32>(x, 12))
  }
  store<i32>(lanes, a)
  store<i32>(lanes, b, 4)
  store<i32>(lanes, c, 8)
  store<i32>(lanes, d, 12)
}

// @ts-ignore: decorator
@inline
function mixed(lane: i32, word: i32): i32 {
  return rotl<i32>(lane + word * <i32>0x85ebca77, 13) * <i32>0x9e3779b1
}

/** The bitwise or of (word & mask) + carry over n words, rounded up to a multiple of 4. */
export function carries(x: usize, n: i32, mask: i32, carry: i32): i32 {
  const mask4 = i32x4.splat(mask)
  const carry4 = i32x4.splat(carry)
  let bits4 = i32x4.splat(0)
  for (const end = x + (<usize>n << 2); x < end; x += 16) {
    bits4 = v128.or(bits4, i32x4.add(v128.and(v128.load(x), mask4), carry4))
  }
  bits4 = v128.or(bits4, v128.shuffle<i32>(bits4, bits4, 2, 3, 0, 1))
  return i32x4.extract_lane(bits4, 0) | i32x4.extract_lane(bits4, 1)
}

/**
 * sums ← sums + weight · x for n values of a wire type, in float64. A value that is not finite, or
 * not below 2⁶⁴, makes its sum infinite or NaN.
 *
 * @param scale  of all these values
 */
export function add(type: i32, sums: usize, x: usize, n: i32, scale: f32, weight: f64): void {
  if (type == BF16) addAs(BF16, sums, x, n, scale, weight)
  else if (type == INT8) addAs(INT8, sums, x, n, scale, weight)
  else if (type == F16) addAs(F16, sums, x, n, scale, weight)
  else addAs(0, sums, x, n, scale, weight)
}

// @ts-ignore: decorator
@inline
function addAs(type: i32, sums: usize, x: usize, n: i32, scale: f32, weight: f64): void {
  const scale4 = f32x4.splat(scale)
  const weight2 = f64x2.splat(weight)
  for (; n >= 4; n -= 4, x += sizeOf(type), sums += 32) {
    const x4 = decoded(type, x, scale4)
    v128.store(sums, added(sums, x4, weight2))
    v128.store(sums + 16, added(sums + 16, v128.shuffle<i64>(x4, x4, 1, 0), weight2))
  }
  for (let x4 = decoded(type, x, scale4); n > 0; n--, sums += 8) {
    v128.store_lane<f64>(sums, added(sums, x4, weight2), 0)
    x4 = v128.shuffle<i32>(x4, x4, 1, 2, 3, 0)
  }
}

/** The first two sums after adding the first two values. */
// @ts-ignore: decorator
@inline
function added(sums: usize, x4: v128, weight2: v128): v128 {
  return f64x2.add(v128.load(sums), f64x2.mul(f64x2.promote_low_f32x4(x4), weight2))
}

/** into ← n values of a wire type, in float32. @param scale  of all these values */
export function decode(type: i32, into: usize, x: usize, n: i32, scale: f32): void {
  if (type == BF16) decodeAs(BF16, into, x, n, scale)
  else if (type == INT8) decodeAs(INT8, into, x, n, scale)
  else decodeAs(F16, into, x, n, scale)
}

// @ts-ignore: decorator
@inline
function decodeAs(type: i32, into: usize, x: usize, n: i32, scale: f32): void {
  const scale4 = f32x4.splat(scale)
  for (; n > 0; n -= 4, x += sizeOf(type), into += 16) {
    v128.store(into, decoded(type, x, scale4))
  }
}

/** Bytes of four codes. */
// @ts-ignore: decorator
@inline
function sizeOf(type: i32): usize {
  return type == INT8 ? 4 : type == 0 ? 16 : 8
}

/** The values of four codes; infinity for those that are not valid. */
// @ts-ignore: decorator
@inline
function decoded(type: i32, x: usize, scale4: v128): v128 {
  if (type == INT8) {
    const codes8 = i16x8.extend_low_i8x16_s(v128.load32_zero(x))
    return f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(codes8)), scale4)
  }
  if (type == F16) {
    const codes4 = v128.load16x4_u(x)
    const magnitude4 = v128.and(codes4, i32x4.splat(0x7fff))
    // As float32, a float16's exponent is smaller by 112.
    const x4 = f32x4.mul(i32x4.shl(magnitude4, 13), f32x4.splat(5.192296858534828e33))
    const valid4 = i32x4.lt_s(magnitude4, i32x4.splat(0x7c00))
    const sign4 = i32x4.shl(v128.xor(codes4, magnitude4), 16)
    return v128.or(orInfinite(f32x4.mul(x4, scale4), valid4), sign4)
  }
  const x4 = type == BF16 ? i32x4.shl(v128.load16x4_u(x), 16) : v128.load(x)
  const magnitude4 = v128.and(x4, i32x4.splat(0x7fffffff))
  return orInfinite(x4, i32x4.lt_s(magnitude4, i32x4.splat(LIMIT)))
}

// @ts-ignore: decorator
@inline
function orInfinite(x4: v128, valid4: v128): v128 {
  return v128.bitselect(x4, i32x4.splat(INFINITE), valid4)
}

/** into ← n sums ÷ weight, in float32. Returns whether all sums are finite. */
export function divide(into: usize, sums: usize, n: i32, weight: f64): bool {
  const weight2 = f64x2.splat(weight)
  let nan2 = f64x2.splat(0) // becomes NaN, for ∞ · 0 is NaN
  for (; n > 0; n -= 2, sums += 16, into += 8) {
    const sums2 = v128.load(sums)
    nan2 = f64x2.add(nan2, f64x2.mul(sums2, f64x2.splat(0)))
    v128.store_lane<i64>(into, f32x4.demote_f64x2_zero(f64x2.div(sums2, weight2)), 0)
  }
  return !v128.any_true(f64x2.ne(nan2, nan2))
}

/** The largest |x| of n floats, which are finite. */
export function largest(x: usize, n: i32): f32 {
  let most4 = f32x4.splat(0)
  for (; n >= 4; n -= 4, x += 16) most4 = f32x4.max(most4, f32x4.abs(v128.load(x)))
  for (; n > 0; n--, x += 4) most4 = f32x4.max(most4, f32x4.abs(v128.load32_zero(x)))
  most4 = f32x4.max(most4, v128.shuffle<i32>(most4, most4, 2, 3, 0, 1))
  return max(f32x4.extract_lane(most4, 0), f32x4.extract_lane(most4, 1))
}

/**
 * into ← the codes of a wire type nearest to n floats, ties to even. Too large values saturate.
 *
 * @param scale  of all these codes
 */
export function encode(type: i32, into: usize, x: usize, n: i32, scale: f32): void {
  if (type == INT8) {
    const scale2 = f64x2.splat(<f64>scale)
    for (; n > 0; n -= 4, x += 16, into += 4) {
      const x4 = v128.load(x)
      const codes4 = v128.shuffle<i64>(
        nearest2(x4, scale2),
        nearest2(v128.shuffle<i64>(x4, x4, 1, 0), scale2),
        0,
        2,
      )
      const codes8 = i16x8.narrow_i32x4_s(codes4, codes4)
      const bytes = i8x16.max_s(i8x16.narrow_i16x8_s(codes8, codes8), i8x16.splat(-127))
      v128.store_lane<i32>(into, bytes, 0)
    }
    return
  }
  const factor4 = f32x4.splat(1 / scale)
  for (; n > 0; n -= 4, x += 16, into += 8) {
    const x4 = v128.load(x)
    const codes4 = type == BF16 ? bf16Of(x4) : f16Of(f32x4.mul(x4, factor4))
    v128.store_lane<i64>(into, i16x8.narrow_i32x4_u(codes4, codes4), 0)
  }
}

/** The first two values divided by the scale, in float64, and rounded: 0 ÷ 0 is 0. */
// @ts-ignore: decorator
@inline
function nearest2(x4: v128, scale2: v128): v128 {
  const quotients2 = f64x2.div(f64x2.promote_low_f32x4(x4), scale2)
  return i32x4.trunc_sat_f64x2_s_zero(f64x2.nearest(quotients2))
}

// @ts-ignore: decorator
@inline
function bf16Of(x4: v128): v128 {
  const magnitude4 = v128.and(x4, i32x4.splat(0x7fffffff))
  const odd4 = v128.and(i32x4.shr_u(x4, 16), i32x4.splat(1))
  const sum4 = i32x4.add(i32x4.add(magnitude4, i32x4.splat(0x7fff)), odd4)
  return signed(i32x4.min_s(i32x4.shr_u(sum4, 16), i32x4.splat((LIMIT >> 16) - 1)), x4)
}

// @ts-ignore: decorator
@inline
function f16Of(x4: v128): v128 {
  const magnitude4 = v128.and(x4, i32x4.splat(0x7fffffff))
  const odd4 = v128.and(i32x4.shr_u(x4, 13), i32x4.splat(1))
  const sum4 = i32x4.add(i32x4.add(magnitude4, i32x4.splat(0xfff - 0x38000000)), odd4)
  const normal4 = i32x4.min_s(i32x4.shr_u(sum4, 13), i32x4.splat(0x7bff))
  // Below 2⁻¹⁴ are subnormals, multiples of 2⁻²⁴, as the numbers from 0.5 on are.
  const small4 = i32x4.sub(f32x4.add(magnitude4, f32x4.splat(0.5)), f32x4.splat(0.5))
  const isSmall4 = i32x4.lt_s(magnitude4, i32x4.splat(0x38800000))
  return signed(v128.bitselect(small4, normal4, isSmall4), x4)
}

/** The codes with the signs of x4 in bit 15. */
// @ts-ignore: decorator
@inline
function signed(codes4: v128, x4: v128): v128 {
  return v128.or(codes4, i32x4.shl(i32x4.shr_u(x4, 31), 15))
}
