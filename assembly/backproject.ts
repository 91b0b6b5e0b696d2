// Q ← Mᵀ·P                                        twin: shaders/backproject.wgsl
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
import { loadFirst, relaxedMadd, storeFirst } from './inline/lanes'
import { scattered, touch } from './inline/touch'

/**
 * Floats of Q that stay in cache while the rows of M pass: 64 KB, which fit the second cache. With
 * 16 KB, for the first cache, the segments of rows are short, and memory is slower by a fifth at
 * 4096².
 */
const STRIP_FLOATS: i32 = 16384

/**
 * Projects every matrix of the table onto its left factor; raw tensors are skipped.
 *
 *   q       out  cols × rank  by column; overlaps neither m nor p
 *   m       in   rows × cols  by row
 *   p       in   rows × rank  by column
 *   blocks  in   count blocks, see inline/block.ts; each must hold all rows of its columns
 *
 * Each sum is over the rows in ascending order. So a column of Q has the same bits, whatever other
 * columns and ranks are computed with it.
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
  const touching = rank > 2 && scattered(nextInM, rows, cols)
  const strip = max(64, (STRIP_FLOATS / rank) & ~3)
  for (let j = 0; j < cols; j += strip, q += <usize>strip << 2, m += <usize>strip << 2) {
    const width = min(strip, cols - j)
    const whole = width & ~3
    const at = <usize>whole << 2
    for (let k = 0; k < rank; k++) memory.fill(q + <usize>k * nextInQ, 0, <usize>width << 2)
    let top = m
    let left = p
    let i = 0
    for (; i + 4 <= rows; i += 4, top += 4 * nextInM, left += 16) {
      if (touching) touch(top, nextInM, 4, width)
      if (whole > 0) addFour(q, nextInQ, top, nextInM, left, nextInP, whole, rank)
      if (whole < width) {
        addRows(q + at, nextInQ, top + at, nextInM, left, nextInP, 4, width - whole, rank)
      }
    }
    addRows(q, nextInQ, top, nextInM, left, nextInP, rows - i, width, rank)
  }
}

/**
 * Q ← Q + Mᵀ·P for any rows and cols, one row and one rank at a time: for the edges of a matrix.
 */
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
  for (let k = 0; k < rank; k++, q += nextInQ, p += nextInP) {
    let row = m
    for (let i = 0; i < rows; i++, row += nextInM) {
      const p4 = v128.load_splat<f32>(p + (<usize>i << 2))
      for (let j = 0; j < cols; j += 4) {
        const at = <usize>j << 2
        const n = cols - j
        storeFirst(q + at, relaxedMadd(loadFirst(q + at, n), loadFirst(row + at, n), p4), n)
      }
    }
  }
}

/** Q ← Q + Mᵀ·P for four neighbouring rows; cols is a multiple of four. */
function addFour(
  q: usize,
  nextInQ: usize,
  m: usize,
  nextInM: usize,
  p: usize,
  nextInP: usize,
  cols: i32,
  rank: i32,
): void {
  for (; rank >= 4; rank -= 4, q += 4 * nextInQ, p += 4 * nextInP) {
    add4x4(q, nextInQ, m, nextInM, p, nextInP, cols)
  }
  if (rank & 2) {
    add4x2(q, nextInQ, m, nextInM, p, nextInP, cols)
    q += 2 * nextInQ
    p += 2 * nextInP
  }
  if (rank & 1) add4x1(q, m, nextInM, p, cols)
}

// Addresses are advanced by strides, as in inline/tiles.ts, because registers for pointers are few.

/**
 * Four rows and four ranks. P does not fit the registers beside M, and is read for each four
 * columns.
 */
function add4x4(
  q: usize,
  nextInQ: usize,
  m: usize,
  nextInM: usize,
  p: usize,
  nextInP: usize,
  cols: i32,
): void {
  for (const end = q + (<usize>cols << 2); q < end; q += 16, m += 16) {
    let at = m
    const a4 = v128.load(at)
    at += nextInM
    const b4 = v128.load(at)
    at += nextInM
    const c4 = v128.load(at)
    at += nextInM
    const d4 = v128.load(at)
    at = q
    let left = p
    addTo(at, a4, b4, c4, d4, left)
    at += nextInQ
    left += nextInP
    addTo(at, a4, b4, c4, d4, left)
    at += nextInQ
    left += nextInP
    addTo(at, a4, b4, c4, d4, left)
    at += nextInQ
    left += nextInP
    addTo(at, a4, b4, c4, d4, left)
  }
}

/** q ← q + a·p0 + b·p1 + c·p2 + d·p3, added from left to right. */
// @ts-ignore: decorator
@inline
function addTo(q: usize, a4: v128, b4: v128, c4: v128, d4: v128, p: usize): void {
  let sum4 = relaxedMadd(v128.load(q), a4, v128.load_splat<f32>(p))
  sum4 = relaxedMadd(sum4, b4, v128.load_splat<f32>(p, 4))
  sum4 = relaxedMadd(sum4, c4, v128.load_splat<f32>(p, 8))
  v128.store(q, relaxedMadd(sum4, d4, v128.load_splat<f32>(p, 12)))
}

/** Four rows and two ranks, with P in registers. */
function add4x2(
  q: usize,
  nextInQ: usize,
  m: usize,
  nextInM: usize,
  p: usize,
  nextInP: usize,
  cols: i32,
): void {
  const p00 = v128.load_splat<f32>(p)
  const p10 = v128.load_splat<f32>(p, 4)
  const p20 = v128.load_splat<f32>(p, 8)
  const p30 = v128.load_splat<f32>(p, 12)
  p += nextInP
  const p01 = v128.load_splat<f32>(p)
  const p11 = v128.load_splat<f32>(p, 4)
  const p21 = v128.load_splat<f32>(p, 8)
  const p31 = v128.load_splat<f32>(p, 12)
  for (const end = q + (<usize>cols << 2); q < end; q += 16, m += 16) {
    let at = m
    let m4 = v128.load(at)
    let x4 = relaxedMadd(v128.load(q), m4, p00)
    let y4 = relaxedMadd(v128.load(q + nextInQ), m4, p01)
    at += nextInM
    m4 = v128.load(at)
    x4 = relaxedMadd(x4, m4, p10)
    y4 = relaxedMadd(y4, m4, p11)
    at += nextInM
    m4 = v128.load(at)
    x4 = relaxedMadd(x4, m4, p20)
    y4 = relaxedMadd(y4, m4, p21)
    at += nextInM
    m4 = v128.load(at)
    v128.store(q, relaxedMadd(x4, m4, p30))
    v128.store(q + nextInQ, relaxedMadd(y4, m4, p31))
  }
}

/** Four rows and one rank, with P in registers. */
function add4x1(q: usize, m: usize, nextInM: usize, p: usize, cols: i32): void {
  const p0 = v128.load_splat<f32>(p)
  const p1 = v128.load_splat<f32>(p, 4)
  const p2 = v128.load_splat<f32>(p, 8)
  const p3 = v128.load_splat<f32>(p, 12)
  for (const end = q + (<usize>cols << 2); q < end; q += 16, m += 16) {
    let at = m
    let sum4 = relaxedMadd(v128.load(q), v128.load(at), p0)
    at += nextInM
    sum4 = relaxedMadd(sum4, v128.load(at), p1)
    at += nextInM
    sum4 = relaxedMadd(sum4, v128.load(at), p2)
    at += nextInM
    v128.store(q, relaxedMadd(sum4, v128.load(at), p3))
  }
}
