// The tiles of settle: M ← M − P·qLocalᵀ, Y ← scale·P·qMeanᵀ (+ Y). `settle2x3` does two rows at
// rank 3.
//
// cols is a positive multiple of four. qMean's columns lie `shift` bytes from qLocal's. The
// elements of P stay in registers. Each tile is a function of its own: in one function with all
// four, V8 keeps some of them on the stack, and takes half as long again.
import { madd } from './lanes'

export function settle4x1(
  y: usize,
  nextInY: usize,
  m: usize,
  nextInM: usize,
  p: usize,
  nextInP: usize,
  qLocal: usize,
  shift: usize,
  nextInQ: usize,
  cols: i32,
  scale: f32,
  accumulate: bool,
): void {
  tile4(false, y, nextInY, m, nextInM, p, nextInP, qLocal, shift, nextInQ, cols, scale, accumulate)
}

export function settle4x2(
  y: usize,
  nextInY: usize,
  m: usize,
  nextInM: usize,
  p: usize,
  nextInP: usize,
  qLocal: usize,
  shift: usize,
  nextInQ: usize,
  cols: i32,
  scale: f32,
  accumulate: bool,
): void {
  tile4(true, y, nextInY, m, nextInM, p, nextInP, qLocal, shift, nextInQ, cols, scale, accumulate)
}

export function settle2x3(
  y: usize,
  nextInY: usize,
  m: usize,
  nextInM: usize,
  p: usize,
  nextInP: usize,
  qLocal: usize,
  shift: usize,
  nextInQ: usize,
  cols: i32,
  scale: f32,
  accumulate: bool,
): void {
  tile2(false, y, nextInY, m, nextInM, p, nextInP, qLocal, shift, nextInQ, cols, scale, accumulate)
}

export function settle2x4(
  y: usize,
  nextInY: usize,
  m: usize,
  nextInM: usize,
  p: usize,
  nextInP: usize,
  qLocal: usize,
  shift: usize,
  nextInQ: usize,
  cols: i32,
  scale: f32,
  accumulate: bool,
): void {
  tile2(true, y, nextInY, m, nextInM, p, nextInP, qLocal, shift, nextInQ, cols, scale, accumulate)
}

/** Four rows, at rank 1 or (two) 2. */
// @ts-ignore: decorator
@inline
function tile4(
  two: bool,
  y: usize,
  nextInY: usize,
  m: usize,
  nextInM: usize,
  p: usize,
  nextInP: usize,
  qLocal: usize,
  shift: usize,
  nextInQ: usize,
  cols: i32,
  scale: f32,
  accumulate: bool,
): void {
  const p0 = v128.load_splat<f32>(p)
  const p1 = v128.load_splat<f32>(p, 4)
  const p2 = v128.load_splat<f32>(p, 8)
  const p3 = v128.load_splat<f32>(p, 12)
  p = two ? p + nextInP : p
  const q0 = v128.load_splat<f32>(p)
  const q1 = v128.load_splat<f32>(p, 4)
  const q2 = v128.load_splat<f32>(p, 8)
  const q3 = v128.load_splat<f32>(p, 12)
  const scale4 = f32x4.splat(scale)
  for (const end = m + (<usize>cols << 2); m < end; m += 16, y += 16, qLocal += 16) {
    let w4 = v128.load(qLocal)
    let x4 = two ? v128.load(qLocal + nextInQ) : w4
    let at = m
    take(at, pair(two, p0, w4, q0, x4))
    at += nextInM
    take(at, pair(two, p1, w4, q1, x4))
    at += nextInM
    take(at, pair(two, p2, w4, q2, x4))
    at += nextInM
    take(at, pair(two, p3, w4, q3, x4))
    const right = qLocal + shift
    w4 = v128.load(right)
    x4 = two ? v128.load(right + nextInQ) : w4
    at = y
    give(at, pair(two, p0, w4, q0, x4), scale4, accumulate)
    at += nextInY
    give(at, pair(two, p1, w4, q1, x4), scale4, accumulate)
    at += nextInY
    give(at, pair(two, p2, w4, q2, x4), scale4, accumulate)
    at += nextInY
    give(at, pair(two, p3, w4, q3, x4), scale4, accumulate)
  }
}

/** Two rows, at rank 3 or (four) 4. */
// @ts-ignore: decorator
@inline
function tile2(
  four: bool,
  y: usize,
  nextInY: usize,
  m: usize,
  nextInM: usize,
  p: usize,
  nextInP: usize,
  qLocal: usize,
  shift: usize,
  nextInQ: usize,
  cols: i32,
  scale: f32,
  accumulate: bool,
): void {
  const a0 = v128.load_splat<f32>(p)
  const b0 = v128.load_splat<f32>(p, 4)
  p += nextInP
  const a1 = v128.load_splat<f32>(p)
  const b1 = v128.load_splat<f32>(p, 4)
  p += nextInP
  const a2 = v128.load_splat<f32>(p)
  const b2 = v128.load_splat<f32>(p, 4)
  p = four ? p + nextInP : p
  const a3 = v128.load_splat<f32>(p)
  const b3 = v128.load_splat<f32>(p, 4)
  const scale4 = f32x4.splat(scale)
  for (const end = m + (<usize>cols << 2); m < end; m += 16, y += 16, qLocal += 16) {
    let right = qLocal
    let w4 = v128.load(right)
    right += nextInQ
    let x4 = v128.load(right)
    right += nextInQ
    let y4 = v128.load(right)
    let z4 = four ? v128.load(right + nextInQ) : y4
    take(m, quad(four, a0, w4, a1, x4, a2, y4, a3, z4))
    take(m + nextInM, quad(four, b0, w4, b1, x4, b2, y4, b3, z4))
    right = qLocal + shift
    w4 = v128.load(right)
    right += nextInQ
    x4 = v128.load(right)
    right += nextInQ
    y4 = v128.load(right)
    z4 = four ? v128.load(right + nextInQ) : y4
    give(y, quad(four, a0, w4, a1, x4, a2, y4, a3, z4), scale4, accumulate)
    give(y + nextInY, quad(four, b0, w4, b1, x4, b2, y4, b3, z4), scale4, accumulate)
  }
}

/** a·w, or a·w + b·x */
// @ts-ignore: decorator
@inline
function pair(two: bool, a4: v128, w4: v128, b4: v128, x4: v128): v128 {
  const sum4 = f32x4.mul(a4, w4)
  return two ? madd(sum4, b4, x4) : sum4
}

/** a·w + b·x + c·y, or a·w + b·x + c·y + d·z, added from left to right */
// @ts-ignore: decorator
@inline
function quad(
  four: bool,
  a4: v128,
  w4: v128,
  b4: v128,
  x4: v128,
  c4: v128,
  y4: v128,
  d4: v128,
  z4: v128,
): v128 {
  const sum4 = madd(pair(true, a4, w4, b4, x4), c4, y4)
  return four ? madd(sum4, d4, z4) : sum4
}

/** m ← m − sum */
// @ts-ignore: decorator
@inline
function take(m: usize, sum4: v128): void {
  v128.store(m, f32x4.sub(v128.load(m), sum4))
}

/** y ← scale·sum (+ y) */
// @ts-ignore: decorator
@inline
function give(y: usize, sum4: v128, scale4: v128, accumulate: bool): void {
  sum4 = f32x4.mul(sum4, scale4)
  v128.store(y, accumulate ? f32x4.add(v128.load(y), sum4) : sum4)
}
