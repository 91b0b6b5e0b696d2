import { loadFirst, madd, total } from './lanes'

/**
 * Columns taken at a time by `project` and `accumulateProject`: four rows of M and of the gradient
 * are 32 KB, and are still near when they are used again. Part of the order of the sums in P.
 */
export const STRIP: i32 = 1024

/**
 * P ← M·Q, or P ← P + M·Q, for one to four neighbouring rows and all columns of Q.
 *
 *   p      out     rows × rank  by column, nextInP bytes from one to the next
 *   m      in      rows × cols  by row, nextInM bytes from one to the next; rows ≤ 4
 *   q      in      cols × rank  by column, nextInQ bytes from one to the next
 *   first          overwrite P rather than add to it
 *
 * The order of each sum is fixed: product j is added to lane j mod 4, the lanes are added as
 * (0 + 2) + (1 + 3), and that to P. It does not depend on the rows or the ranks beside it.
 */
export function dots(
  p: usize,
  nextInP: usize,
  m: usize,
  nextInM: usize,
  q: usize,
  nextInQ: usize,
  rows: i32,
  cols: i32,
  rank: i32,
  first: bool,
): void {
  // A row that is not there is the row before it, computed again and stored to the same place.
  const m1 = rows > 1 ? m + nextInM : m
  const m2 = rows > 2 ? m1 + nextInM : m1
  const m3 = rows > 3 ? m2 + nextInM : m2
  const p1 = rows > 1 ? p + 4 : p
  const p2 = rows > 2 ? p1 + 4 : p1
  const p3 = rows > 3 ? p2 + 4 : p2
  // Eight running sums at most: with the operands they fill the 16 registers of x86.
  let k: usize = 0
  for (; k + 4 <= <usize>rank; k += 4) {
    const at = k * nextInP
    const right = q + k * nextInQ
    dots2x4(p + at, p1 + at, nextInP, m, m1, right, nextInQ, cols, first)
    if (rows > 2) dots2x4(p2 + at, p3 + at, nextInP, m2, m3, right, nextInQ, cols, first)
  }
  if (rank & 2) {
    const at = k * nextInP
    const right = q + k * nextInQ
    dots4x2(p + at, p1 + at, p2 + at, p3 + at, nextInP, m, m1, m2, m3, right, nextInQ, cols, first)
    k += 2
  }
  if (rank & 1) {
    const at = k * nextInP
    dots4x1(p + at, p1 + at, p2 + at, p3 + at, m, m1, m2, m3, q + k * nextInQ, cols, first)
  }
}

function dots2x4(
  p0: usize,
  p1: usize,
  nextInP: usize,
  m0: usize,
  m1: usize,
  q0: usize,
  nextInQ: usize,
  cols: i32,
  first: bool,
): void {
  let q1 = q0 + nextInQ
  let q2 = q1 + nextInQ
  let q3 = q2 + nextInQ
  let s00 = f32x4.splat(0)
  let s01 = s00
  let s02 = s00
  let s03 = s00
  let s10 = s00
  let s11 = s00
  let s12 = s00
  let s13 = s00
  for (const end = m0 + ((<usize>cols & ~3) << 2); m0 < end; m0 += 16, m1 += 16) {
    const a4 = v128.load(m0)
    const b4 = v128.load(m1)
    const w4 = v128.load(q0)
    s00 = madd(s00, a4, w4)
    s10 = madd(s10, b4, w4)
    const x4 = v128.load(q1)
    s01 = madd(s01, a4, x4)
    s11 = madd(s11, b4, x4)
    const y4 = v128.load(q2)
    s02 = madd(s02, a4, y4)
    s12 = madd(s12, b4, y4)
    const z4 = v128.load(q3)
    s03 = madd(s03, a4, z4)
    s13 = madd(s13, b4, z4)
    q0 += 16
    q1 += 16
    q2 += 16
    q3 += 16
  }
  const rest = cols & 3
  if (rest) {
    const a4 = loadFirst(m0, rest)
    const b4 = loadFirst(m1, rest)
    const w4 = loadFirst(q0, rest)
    s00 = madd(s00, a4, w4)
    s10 = madd(s10, b4, w4)
    const x4 = loadFirst(q1, rest)
    s01 = madd(s01, a4, x4)
    s11 = madd(s11, b4, x4)
    const y4 = loadFirst(q2, rest)
    s02 = madd(s02, a4, y4)
    s12 = madd(s12, b4, y4)
    const z4 = loadFirst(q3, rest)
    s03 = madd(s03, a4, z4)
    s13 = madd(s13, b4, z4)
  }
  put2(p0, p1, total(s00), total(s10), first)
  put2(p0 + nextInP, p1 + nextInP, total(s01), total(s11), first)
  put2(p0 + 2 * nextInP, p1 + 2 * nextInP, total(s02), total(s12), first)
  put2(p0 + 3 * nextInP, p1 + 3 * nextInP, total(s03), total(s13), first)
}

function dots4x2(
  p0: usize,
  p1: usize,
  p2: usize,
  p3: usize,
  nextInP: usize,
  m0: usize,
  m1: usize,
  m2: usize,
  m3: usize,
  q0: usize,
  nextInQ: usize,
  cols: i32,
  first: bool,
): void {
  let q1 = q0 + nextInQ
  let s00 = f32x4.splat(0)
  let s01 = s00
  let s10 = s00
  let s11 = s00
  let s20 = s00
  let s21 = s00
  let s30 = s00
  let s31 = s00
  for (const end = m0 + ((<usize>cols & ~3) << 2); m0 < end; m0 += 16, q0 += 16, q1 += 16) {
    const w4 = v128.load(q0)
    const x4 = v128.load(q1)
    const a4 = v128.load(m0)
    s00 = madd(s00, a4, w4)
    s01 = madd(s01, a4, x4)
    const b4 = v128.load(m1)
    s10 = madd(s10, b4, w4)
    s11 = madd(s11, b4, x4)
    const c4 = v128.load(m2)
    s20 = madd(s20, c4, w4)
    s21 = madd(s21, c4, x4)
    const d4 = v128.load(m3)
    s30 = madd(s30, d4, w4)
    s31 = madd(s31, d4, x4)
    m1 += 16
    m2 += 16
    m3 += 16
  }
  const rest = cols & 3
  if (rest) {
    const w4 = loadFirst(q0, rest)
    const x4 = loadFirst(q1, rest)
    const a4 = loadFirst(m0, rest)
    s00 = madd(s00, a4, w4)
    s01 = madd(s01, a4, x4)
    const b4 = loadFirst(m1, rest)
    s10 = madd(s10, b4, w4)
    s11 = madd(s11, b4, x4)
    const c4 = loadFirst(m2, rest)
    s20 = madd(s20, c4, w4)
    s21 = madd(s21, c4, x4)
    const d4 = loadFirst(m3, rest)
    s30 = madd(s30, d4, w4)
    s31 = madd(s31, d4, x4)
  }
  put4(p0, p1, p2, p3, total(s00), total(s10), total(s20), total(s30), first)
  p0 += nextInP
  p1 += nextInP
  p2 += nextInP
  p3 += nextInP
  put4(p0, p1, p2, p3, total(s01), total(s11), total(s21), total(s31), first)
}

function dots4x1(
  p0: usize,
  p1: usize,
  p2: usize,
  p3: usize,
  m0: usize,
  m1: usize,
  m2: usize,
  m3: usize,
  q0: usize,
  cols: i32,
  first: bool,
): void {
  let s0 = f32x4.splat(0)
  let s1 = s0
  let s2 = s0
  let s3 = s0
  for (const end = m0 + ((<usize>cols & ~3) << 2); m0 < end; m0 += 16, q0 += 16) {
    const w4 = v128.load(q0)
    s0 = madd(s0, v128.load(m0), w4)
    s1 = madd(s1, v128.load(m1), w4)
    s2 = madd(s2, v128.load(m2), w4)
    s3 = madd(s3, v128.load(m3), w4)
    m1 += 16
    m2 += 16
    m3 += 16
  }
  const rest = cols & 3
  if (rest) {
    const w4 = loadFirst(q0, rest)
    s0 = madd(s0, loadFirst(m0, rest), w4)
    s1 = madd(s1, loadFirst(m1, rest), w4)
    s2 = madd(s2, loadFirst(m2, rest), w4)
    s3 = madd(s3, loadFirst(m3, rest), w4)
  }
  put4(p0, p1, p2, p3, total(s0), total(s1), total(s2), total(s3), first)
}

// Places may coincide, with equal sums: so all is read before anything is written.

// @ts-ignore: decorator
@inline
function put2(p0: usize, p1: usize, sum0: f32, sum1: f32, first: bool): void {
  if (!first) {
    sum0 += load<f32>(p0)
    sum1 += load<f32>(p1)
  }
  store<f32>(p0, sum0)
  store<f32>(p1, sum1)
}

// @ts-ignore: decorator
@inline
function put4(
  p0: usize,
  p1: usize,
  p2: usize,
  p3: usize,
  sum0: f32,
  sum1: f32,
  sum2: f32,
  sum3: f32,
  first: bool,
): void {
  if (!first) {
    sum0 += load<f32>(p0)
    sum1 += load<f32>(p1)
    sum2 += load<f32>(p2)
    sum3 += load<f32>(p3)
  }
  store<f32>(p0, sum0)
  store<f32>(p1, sum1)
  store<f32>(p2, sum2)
  store<f32>(p3, sum3)
}
