// Q ← Mᵀ·P
import {
  BLOCK_BYTES,
  colsOf,
  mOf,
  nextInMOf,
  nextInPOf,
  nextInQOf,
  pOf,
  qOf,
  rankOf,
  rowsOf,
} from './inline/block'
import { loadFirst, madd, storeFirst } from './inline/lanes'

/** Floats of Q that are kept near while the rows of M go by: 16 KB. */
const STRIP_FLOATS: i32 = 4096

/**
 * Projects every matrix of the table onto its left factor; raw tensors are passed over.
 *
 *   q       out  cols × rank  by column; overlaps neither m nor p
 *   m       in   rows × cols  by row
 *   p       in   rows × rank  by column
 *   blocks  in   count blocks, see inline/block.ts; each must hold all rows of its columns
 *
 * The order of each sum is fixed: four rows at a time, (0 + 1) + (2 + 3), and that to what the
 * rows above gave. It does not depend on the columns or the ranks beside it.
 */
export function backproject(q: usize, m: usize, p: usize, blocks: usize, count: i32): void {
  const end = blocks + <usize>count * BLOCK_BYTES
  for (let block = blocks; block < end; block += BLOCK_BYTES) {
    if (rankOf(block) > 0) backprojectBlock(q + qOf(block), m + mOf(block), p + pOf(block), block)
  }
}

function backprojectBlock(q: usize, m: usize, p: usize, block: usize): void {
  const rows = rowsOf(block)
  const cols = colsOf(block)
  const rank = rankOf(block)
  const nextInQ = nextInQOf(block)
  const nextInM = nextInMOf(block)
  const nextInP = nextInPOf(block)
  const strip = max(64, (STRIP_FLOATS / rank) & ~3)
  for (let j = 0; j < cols; j += strip, q += <usize>strip << 2, m += <usize>strip << 2) {
    const width = min(strip, cols - j)
    for (let k = 0; k < rank; k++) memory.fill(q + <usize>k * nextInQ, 0, <usize>width << 2)
    let top = m
    let left = p
    for (let i = 0; i < rows; i += 4, top += 4 * nextInM, left += 16) {
      addRows(q, nextInQ, top, nextInM, left, nextInP, min(4, rows - i), width, rank)
    }
  }
}

/** Q ← Q + Mᵀ·P for one to four neighbouring rows. */
function addRows(
  q: usize,
  nextInQ: usize,
  m: usize,
  nextInM: usize,
  p: usize,
  nextInP: usize,
  rows: i32,
  cols: i32,
  rank: i32,
): void {
  // A row that is not there is the row before it, with weight 0.
  const m1 = rows > 1 ? m + nextInM : m
  const m2 = rows > 2 ? m1 + nextInM : m1
  const m3 = rows > 3 ? m2 + nextInM : m2
  let k = 0
  for (; k + 2 <= rank; k += 2, q += 2 * nextInQ, p += 2 * nextInP) {
    add4x2(q, nextInQ, m, m1, m2, m3, p, nextInP, rows, cols)
  }
  if (k < rank) add4x1(q, m, m1, m2, m3, p, rows, cols)
}

/** P's element in row i of four, in all lanes; 0 where there is no such row. */
// @ts-ignore: decorator
@inline
function weight(p: usize, i: i32, rows: i32): v128 {
  return f32x4.splat(i < rows ? load<f32>(p + (<usize>i << 2)) : 0)
}

function add4x2(
  q0: usize,
  nextInQ: usize,
  m0: usize,
  m1: usize,
  m2: usize,
  m3: usize,
  p: usize,
  nextInP: usize,
  rows: i32,
  cols: i32,
): void {
  const p00 = weight(p, 0, rows)
  const p10 = weight(p, 1, rows)
  const p20 = weight(p, 2, rows)
  const p30 = weight(p, 3, rows)
  const p01 = weight(p + nextInP, 0, rows)
  const p11 = weight(p + nextInP, 1, rows)
  const p21 = weight(p + nextInP, 2, rows)
  const p31 = weight(p + nextInP, 3, rows)
  let q1 = q0 + nextInQ
  for (const end = q0 + ((<usize>cols & ~3) << 2); q0 < end; q0 += 16, q1 += 16) {
    const a4 = v128.load(m0)
    const b4 = v128.load(m1)
    const c4 = v128.load(m2)
    const d4 = v128.load(m3)
    v128.store(q0, f32x4.add(v128.load(q0), sum4(a4, b4, c4, d4, p00, p10, p20, p30)))
    v128.store(q1, f32x4.add(v128.load(q1), sum4(a4, b4, c4, d4, p01, p11, p21, p31)))
    m0 += 16
    m1 += 16
    m2 += 16
    m3 += 16
  }
  const rest = cols & 3
  if (rest) {
    const a4 = loadFirst(m0, rest)
    const b4 = loadFirst(m1, rest)
    const c4 = loadFirst(m2, rest)
    const d4 = loadFirst(m3, rest)
    const x4 = sum4(a4, b4, c4, d4, p00, p10, p20, p30)
    const y4 = sum4(a4, b4, c4, d4, p01, p11, p21, p31)
    storeFirst(q0, f32x4.add(loadFirst(q0, rest), x4), rest)
    storeFirst(q1, f32x4.add(loadFirst(q1, rest), y4), rest)
  }
}

function add4x1(
  q0: usize,
  m0: usize,
  m1: usize,
  m2: usize,
  m3: usize,
  p: usize,
  rows: i32,
  cols: i32,
): void {
  const p0 = weight(p, 0, rows)
  const p1 = weight(p, 1, rows)
  const p2 = weight(p, 2, rows)
  const p3 = weight(p, 3, rows)
  for (const end = q0 + ((<usize>cols & ~3) << 2); q0 < end; q0 += 16) {
    const x4 = sum4(v128.load(m0), v128.load(m1), v128.load(m2), v128.load(m3), p0, p1, p2, p3)
    v128.store(q0, f32x4.add(v128.load(q0), x4))
    m0 += 16
    m1 += 16
    m2 += 16
    m3 += 16
  }
  const rest = cols & 3
  if (rest) {
    const a4 = loadFirst(m0, rest)
    const b4 = loadFirst(m1, rest)
    const c4 = loadFirst(m2, rest)
    const d4 = loadFirst(m3, rest)
    const x4 = sum4(a4, b4, c4, d4, p0, p1, p2, p3)
    storeFirst(q0, f32x4.add(loadFirst(q0, rest), x4), rest)
  }
}

/** (a·p + b·q) + (c·r + d·s) */
// @ts-ignore: decorator
@inline
function sum4(
  a4: v128,
  b4: v128,
  c4: v128,
  d4: v128,
  p4: v128,
  q4: v128,
  r4: v128,
  s4: v128,
): v128 {
  return f32x4.add(madd(f32x4.mul(a4, p4), b4, q4), madd(f32x4.mul(c4, r4), d4, s4))
}
