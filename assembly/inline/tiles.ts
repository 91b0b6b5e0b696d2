// The tiles of P ← M·Q, with or without M ← M + g before it.
//
// A tile keeps eight running sums: with the operands, they fill the 16 vector registers of x86.
// Addresses are advanced from row to row and from column to column, for there are at most a dozen
// registers for pointers. With one pointer per row and column, engines keep them on the stack, and
// take half as long again.
import { relaxedMadd, total } from './lanes'

/**
 * The bits of a number without its sign, shifted to the left by one. As unsigned integers, these are
 * in the order of the magnitudes, with ∞ and NaN above all finite ones. A shift needs no mask, which
 * would take one of the 16 registers.
 */
// @ts-ignore: decorator
@inline
export function magnitude(x4: v128): v128 {
  return i32x4.shl(x4, 1)
}

/** The larger of two lanes each: of inG4 in lanes 0 and 1, of inM4 in lanes 2 and 3. */
// @ts-ignore: decorator
@inline
export function largestOf(inG4: v128, inM4: v128): v128 {
  return i32x4.max_u(
    v128.shuffle<i32>(inG4, inM4, 0, 1, 4, 5),
    v128.shuffle<i32>(inG4, inM4, 2, 3, 6, 7),
  )
}

/**
 * Two rows by four columns of Q.
 *
 *   p       out     2 × 4     nextRow bytes from row to row, nextInP from column to column
 *   m       in      2 × cols  by row; with `adding`, M ← M + g first
 *   g       in      2 × cols  by row; unused without `adding`
 *   save            bytes from g to where M as it was is written, laid out as g; 0: over g
 *   q       in      cols × 4  by column
 *   cols            a multiple of four
 *   first           overwrite P rather than add to it
 *
 * Returns the largest `magnitude`s: of g in lanes 0 and 1, of M as it was in lanes 2 and 3; 0 without
 * `adding`.
 */
// @ts-ignore: decorator
@inline
export function tile2x4(
  p: usize,
  nextRow: usize,
  nextInP: usize,
  m: usize,
  nextInM: usize,
  g: usize,
  nextInG: usize,
  q: usize,
  nextInQ: usize,
  cols: i32,
  first: bool,
  adding: bool,
  save: usize,
): v128 {
  let inG4 = i32x4.splat(0)
  let inM4 = inG4
  let s00 = f32x4.splat(0)
  let s01 = s00
  let s02 = s00
  let s03 = s00
  let s10 = s00
  let s11 = s00
  let s12 = s00
  let s13 = s00
  for (const end = m + (<usize>cols << 2); m < end; m += 16, q += 16) {
    let a4: v128
    let b4: v128
    if (adding) {
      let g4 = v128.load(g)
      a4 = v128.load(m)
      v128.store(g + save, a4)
      inG4 = i32x4.max_u(inG4, magnitude(g4))
      inM4 = i32x4.max_u(inM4, magnitude(a4))
      a4 = f32x4.add(a4, g4)
      v128.store(m, a4)
      const next = g + nextInG
      g4 = v128.load(next)
      b4 = v128.load(m + nextInM)
      v128.store(next + save, b4)
      inG4 = i32x4.max_u(inG4, magnitude(g4))
      inM4 = i32x4.max_u(inM4, magnitude(b4))
      b4 = f32x4.add(b4, g4)
      v128.store(m + nextInM, b4)
      g += 16
    } else {
      a4 = v128.load(m)
      b4 = v128.load(m + nextInM)
    }
    let right = q
    let w4 = v128.load(right)
    s00 = relaxedMadd(s00, a4, w4)
    s10 = relaxedMadd(s10, b4, w4)
    right += nextInQ
    w4 = v128.load(right)
    s01 = relaxedMadd(s01, a4, w4)
    s11 = relaxedMadd(s11, b4, w4)
    right += nextInQ
    w4 = v128.load(right)
    s02 = relaxedMadd(s02, a4, w4)
    s12 = relaxedMadd(s12, b4, w4)
    right += nextInQ
    w4 = v128.load(right)
    s03 = relaxedMadd(s03, a4, w4)
    s13 = relaxedMadd(s13, b4, w4)
  }
  put2(p, nextRow, s00, s10, first)
  p += nextInP
  put2(p, nextRow, s01, s11, first)
  p += nextInP
  put2(p, nextRow, s02, s12, first)
  p += nextInP
  put2(p, nextRow, s03, s13, first)
  return largestOf(inG4, inM4)
}

/** Four rows by one column of Q, or (two) by two columns; otherwise like tile2x4. */
// @ts-ignore: decorator
@inline
export function tile4(
  two: bool,
  p: usize,
  nextRow: usize,
  nextInP: usize,
  m: usize,
  nextInM: usize,
  g: usize,
  nextInG: usize,
  q: usize,
  nextInQ: usize,
  cols: i32,
  first: bool,
  adding: bool,
  save: usize,
): v128 {
  let inG4 = i32x4.splat(0)
  let inM4 = inG4
  let s00 = f32x4.splat(0)
  let s01 = s00
  let s10 = s00
  let s11 = s00
  let s20 = s00
  let s21 = s00
  let s30 = s00
  let s31 = s00
  for (const end = m + (<usize>cols << 2); m < end; m += 16, q += 16) {
    const w4 = v128.load(q)
    const x4 = two ? v128.load(q + nextInQ) : w4
    let row = m
    let a4: v128
    let g4: v128
    let from = g
    if (adding) {
      g4 = v128.load(from)
      a4 = v128.load(row)
      v128.store(from + save, a4)
      inG4 = i32x4.max_u(inG4, magnitude(g4))
      inM4 = i32x4.max_u(inM4, magnitude(a4))
      a4 = f32x4.add(a4, g4)
      v128.store(row, a4)
      from += nextInG
    } else a4 = v128.load(row)
    s00 = relaxedMadd(s00, a4, w4)
    if (two) s01 = relaxedMadd(s01, a4, x4)
    row += nextInM
    if (adding) {
      g4 = v128.load(from)
      a4 = v128.load(row)
      v128.store(from + save, a4)
      inG4 = i32x4.max_u(inG4, magnitude(g4))
      inM4 = i32x4.max_u(inM4, magnitude(a4))
      a4 = f32x4.add(a4, g4)
      v128.store(row, a4)
      from += nextInG
    } else a4 = v128.load(row)
    s10 = relaxedMadd(s10, a4, w4)
    if (two) s11 = relaxedMadd(s11, a4, x4)
    row += nextInM
    if (adding) {
      g4 = v128.load(from)
      a4 = v128.load(row)
      v128.store(from + save, a4)
      inG4 = i32x4.max_u(inG4, magnitude(g4))
      inM4 = i32x4.max_u(inM4, magnitude(a4))
      a4 = f32x4.add(a4, g4)
      v128.store(row, a4)
      from += nextInG
    } else a4 = v128.load(row)
    s20 = relaxedMadd(s20, a4, w4)
    if (two) s21 = relaxedMadd(s21, a4, x4)
    row += nextInM
    if (adding) {
      g4 = v128.load(from)
      a4 = v128.load(row)
      v128.store(from + save, a4)
      inG4 = i32x4.max_u(inG4, magnitude(g4))
      inM4 = i32x4.max_u(inM4, magnitude(a4))
      a4 = f32x4.add(a4, g4)
      v128.store(row, a4)
    } else a4 = v128.load(row)
    s30 = relaxedMadd(s30, a4, w4)
    if (two) s31 = relaxedMadd(s31, a4, x4)
    if (adding) g += 16
  }
  put4(p, nextRow, s00, s10, s20, s30, first)
  if (two) put4(p + nextInP, nextRow, s01, s11, s21, s31, first)
  return largestOf(inG4, inM4)
}

/** p ← sum, or p ← p + sum */
// @ts-ignore: decorator
@inline
export function put(p: usize, sum: f32, first: bool): void {
  store<f32>(p, first ? sum : load<f32>(p) + sum)
}

// With nextRow 0, the rows coincide and have equal sums. So all of P is read before any of it is
// written.

/** Stores the totals of two rows' sums. */
// @ts-ignore: decorator
@inline
function put2(p: usize, nextRow: usize, s0: v128, s1: v128, first: bool): void {
  let sum0 = total(s0)
  let sum1 = total(s1)
  if (!first) {
    sum0 = load<f32>(p) + sum0
    sum1 = load<f32>(p + nextRow) + sum1
  }
  store<f32>(p, sum0)
  store<f32>(p + nextRow, sum1)
}

/** Stores the totals of four rows' sums. */
function put4(
  p: usize,
  nextRow: usize,
  s0: v128,
  s1: v128,
  s2: v128,
  s3: v128,
  first: bool,
): void {
  const p2 = p + 2 * nextRow
  let sum2 = total(s2)
  let sum3 = total(s3)
  if (!first) {
    sum2 = load<f32>(p2) + sum2
    sum3 = load<f32>(p2 + nextRow) + sum3
  }
  put2(p, nextRow, s0, s1, first)
  store<f32>(p2, sum2)
  store<f32>(p2 + nextRow, sum3)
}
