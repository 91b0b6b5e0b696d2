// The tiles of P ← M·Q, with or without M ← M + g before it.
//
// A tile keeps eight running sums: with the operands, they fill the 16 vector registers of x86.
// Addresses are advanced from row to row and from column to column, for there are at most a dozen
// registers for pointers. With one pointer per row and column, engines keep them on the stack, and
// take half as long again.
import { relaxedMadd, total } from './lanes'

/** The bits of 2¹⁰⁰, the bound for gradients and matrices; accumulateProject gives the reason. */
const LIMIT: i32 = 0x71800000

/**
 * All bits but the sign, in all lanes: masks a number to the bits of its magnitude. As integers,
 * these are in the order of the magnitudes, with ∞ and NaN above all finite ones.
 *
 *   zero  0, in a form that no compiler recognizes: see accumulateProject
 */
// @ts-ignore: decorator
@inline
export function magnitudeMask(zero: i32): v128 {
  return i32x4.splat(0x7fffffff | zero)
}

/** LIMIT in all lanes. zero is as above. */
// @ts-ignore: decorator
@inline
export function limits(zero: i32): v128 {
  return i32x4.splat(LIMIT | zero)
}

/**
 * g4, with 0 in place of elements whose magnitude (size4) is not below limit4. Adding them to M
 * could not be undone.
 */
// @ts-ignore: decorator
@inline
export function below(g4: v128, size4: v128, limit4: v128): v128 {
  return v128.and(g4, i32x4.gt_s(limit4, size4))
}

/**
 * Two rows by four columns of Q.
 *
 *   p       out     2 × 4     nextRow bytes from row to row, nextInP from column to column
 *   m       in      2 × cols  by row; with `adding`, M ← M + g first
 *   g       in      2 × cols  by row; unused without `adding`
 *   q       in      cols × 4  by column
 *   cols            a multiple of four
 *   first           overwrite P rather than add to it
 *
 * Returns, in each lane, the largest magnitude of g and M + g, as bits; 0 without `adding`.
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
  mask4: v128,
  limit4: v128,
): v128 {
  let largest4 = i32x4.splat(0)
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
      let size4 = v128.and(g4, mask4)
      largest4 = i32x4.max_s(largest4, size4)
      a4 = f32x4.add(v128.load(m), below(g4, size4, limit4))
      v128.store(m, a4)
      largest4 = i32x4.max_s(largest4, v128.and(a4, mask4))
      g4 = v128.load(g + nextInG)
      size4 = v128.and(g4, mask4)
      largest4 = i32x4.max_s(largest4, size4)
      b4 = f32x4.add(v128.load(m + nextInM), below(g4, size4, limit4))
      v128.store(m + nextInM, b4)
      largest4 = i32x4.max_s(largest4, v128.and(b4, mask4))
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
  return largest4
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
  mask4: v128,
  limit4: v128,
): v128 {
  let largest4 = i32x4.splat(0)
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
    let size4: v128
    let from = g
    if (adding) {
      g4 = v128.load(from)
      size4 = v128.and(g4, mask4)
      largest4 = i32x4.max_s(largest4, size4)
      a4 = f32x4.add(v128.load(row), below(g4, size4, limit4))
      v128.store(row, a4)
      largest4 = i32x4.max_s(largest4, v128.and(a4, mask4))
      from += nextInG
    } else a4 = v128.load(row)
    s00 = relaxedMadd(s00, a4, w4)
    if (two) s01 = relaxedMadd(s01, a4, x4)
    row += nextInM
    if (adding) {
      g4 = v128.load(from)
      size4 = v128.and(g4, mask4)
      largest4 = i32x4.max_s(largest4, size4)
      a4 = f32x4.add(v128.load(row), below(g4, size4, limit4))
      v128.store(row, a4)
      largest4 = i32x4.max_s(largest4, v128.and(a4, mask4))
      from += nextInG
    } else a4 = v128.load(row)
    s10 = relaxedMadd(s10, a4, w4)
    if (two) s11 = relaxedMadd(s11, a4, x4)
    row += nextInM
    if (adding) {
      g4 = v128.load(from)
      size4 = v128.and(g4, mask4)
      largest4 = i32x4.max_s(largest4, size4)
      a4 = f32x4.add(v128.load(row), below(g4, size4, limit4))
      v128.store(row, a4)
      largest4 = i32x4.max_s(largest4, v128.and(a4, mask4))
      from += nextInG
    } else a4 = v128.load(row)
    s20 = relaxedMadd(s20, a4, w4)
    if (two) s21 = relaxedMadd(s21, a4, x4)
    row += nextInM
    if (adding) {
      g4 = v128.load(from)
      size4 = v128.and(g4, mask4)
      largest4 = i32x4.max_s(largest4, size4)
      a4 = f32x4.add(v128.load(row), below(g4, size4, limit4))
      v128.store(row, a4)
      largest4 = i32x4.max_s(largest4, v128.and(a4, mask4))
    } else a4 = v128.load(row)
    s30 = relaxedMadd(s30, a4, w4)
    if (two) s31 = relaxedMadd(s31, a4, x4)
    if (adding) g += 16
  }
  put4(p, nextRow, s00, s10, s20, s30, first)
  if (two) put4(p + nextInP, nextRow, s01, s11, s21, s31, first)
  return largest4
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
