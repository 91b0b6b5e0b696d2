// Arithmetic on vectors of four floats, and access to the one to three floats at the end of a row.

/** sum4 + a4·b4, rounded twice. Never fused, so the bits are the same on every engine. */
// @ts-ignore: decorator
@inline
export function madd(sum4: v128, a4: v128, b4: v128): v128 {
  return f32x4.add(sum4, f32x4.mul(a4, b4))
}

/**
 * sum4 + a4·b4. In the relaxed build it is rounded once if the processor can fuse it; otherwise
 * twice. Only for results whose bits workers need not agree on.
 */
// @ts-ignore: decorator
@inline
export function relaxedMadd(sum4: v128, a4: v128, b4: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a4, b4, sum4)
  return madd(sum4, a4, b4)
}

/** The sum of the four lanes: (0 + 2) + (1 + 3). */
// @ts-ignore: decorator
@inline
export function total(sum4: v128): f32 {
  const sum2 = f32x4.add(sum4, v128.shuffle<f32>(sum4, sum4, 2, 3, 0, 1))
  return f32x4.extract_lane(sum2, 0) + f32x4.extract_lane(sum2, 1)
}

/** sum2 + a2·b2 in float64, rounded twice. */
// @ts-ignore: decorator
@inline
export function madd64(sum2: v128, a2: v128, b2: v128): v128 {
  return f64x2.add(sum2, f64x2.mul(a2, b2))
}

/** The sum of four lanes, 0 and 1 in low2, 2 and 3 in high2: (0 + 2) + (1 + 3). */
// @ts-ignore: decorator
@inline
export function total64(low2: v128, high2: v128): f64 {
  const sum2 = f64x2.add(low2, high2)
  return f64x2.extract_lane(sum2, 0) + f64x2.extract_lane(sum2, 1)
}

/** Lanes 0 and 1 in float64. */
// @ts-ignore: decorator
@inline
export function low(x4: v128): v128 {
  return f64x2.promote_low_f32x4(x4)
}

/** Lanes 2 and 3 in float64. */
// @ts-ignore: decorator
@inline
export function high(x4: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<f32>(x4, x4, 2, 3, 2, 3))
}

/**
 * Loads the first n floats at x, and zeros. n ≥ 1; from 4 on, all four. Reads none past the n-th.
 */
export function loadFirst(x: usize, n: i32): v128 {
  if (n >= 4) return v128.load(x)
  if (n == 1) return v128.load32_zero(x)
  const pair = v128.load64_zero(x)
  return n == 2 ? pair : f32x4.replace_lane(pair, 2, load<f32>(x, 8))
}

/**
 * Stores the first n lanes of a4 at x. n ≥ 1; from 4 on, all four. Writes nothing past the n-th.
 */
export function storeFirst(x: usize, a4: v128, n: i32): void {
  if (n >= 4) {
    v128.store(x, a4)
  } else if (n == 1) {
    v128.store_lane<f32>(x, a4, 0)
  } else {
    v128.store_lane<f64>(x, a4, 0)
    if (n == 3) v128.store_lane<f32>(x, a4, 2, 8)
  }
}
