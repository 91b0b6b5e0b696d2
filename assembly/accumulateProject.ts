// M ← M + g, P ← M·Q                              twin: shaders/accumulateProject.wgsl
import {
  BLOCK_BYTES,
  colsOf,
  firstOf,
  gOf,
  mOf,
  nextInGOf,
  nextInMOf,
  nextInPOf,
  nextInQOf,
  pOf,
  qOf,
  rankOf,
  rowsOf,
} from './inline/block'
import { dots, STRIP } from './inline/dots'
import { loadFirst, storeFirst } from './inline/lanes'
import { below, limits, magnitudeMask, tile2x4, tile4 } from './inline/tiles'
import { scattered, touch } from './inline/touch'

/**
 * Adds the gradient to the residual and projects the sum onto the right factor. Reads each once.
 *
 *   p       out     rows × rank  by column; overlaps nothing else
 *   m       in/out  rows × cols  by row; overlaps nothing else
 *   g       in      rows × cols  by row, with a stride of its own
 *   q       in      cols × rank  by column
 *   blocks  in      count blocks, see inline/block.ts; for raw tensors (rank 0) only M ← M + g
 *
 * Returns count; or, if some g or some M + g is not finite or not below 2¹⁰⁰ in magnitude, the
 * number of the first such block. In that block, P is undefined, and M is as it was: to the bit
 * where g was not added, to the rounding of g where it was added and subtracted again. The blocks
 * before it are done; those after it are untouched.
 *
 * If M is below 2¹⁰⁰, neither its factors nor its residual overflow: no element of P·Qᵀ is larger
 * than ‖M‖, which is below 2¹⁰⁰·√(rows·cols) ≤ 2¹¹⁶. src/backends/reference.ts has the same number.
 */
export function accumulateProject(
  p: usize,
  m: usize,
  g: usize,
  q: usize,
  blocks: usize,
  count: i32,
): i32 {
  for (let i = 0; i < count; i++, blocks += BLOCK_BYTES) {
    if (!add(p + pOf(blocks), m + mOf(blocks), g + gOf(blocks), q + qOf(blocks), blocks)) return i
  }
  return count
}

/** Does one block. Returns false if a value is too large. */
function add(p: usize, m: usize, g: usize, q: usize, block: usize): bool {
  const rows = rowsOf(block)
  const cols = colsOf(block)
  // V8 builds a vector constant anew at each use, in three instructions, even in a loop. A
  // function's parameter stays in a register. So the constants are passed as parameters, and they
  // are made to depend on rows, lest a compiler see that they are constant: rows >> 31 is always 0,
  // for rows is never negative.
  const mask4 = magnitudeMask(rows >> 31)
  const limit4 = limits(rows >> 31)
  const rank = rankOf(block)
  const strip = rank > 0 ? STRIP : cols
  const nextInM = nextInMOf(block)
  const nextInG = nextInGOf(block)
  const touching = rank > 2 && scattered(nextInM, rows, cols)
  for (let i = 0; i < rows; i += 4) {
    const height = min(4, rows - i)
    const m0 = m + <usize>i * nextInM
    const g0 = g + <usize>i * nextInG
    const left = p + (<usize>i << 2)
    if (touching) {
      touch(m0, nextInM, height, cols)
      touch(g0, nextInG, height, cols)
    }
    for (let j = 0; j < cols; j += strip) {
      const at = <usize>j << 2
      const width = min(strip, cols - j)
      const first = firstOf(block) && j == 0
      // Even a failed strip has been run to its end: each g in it was added, or was too large
      // itself.
      if (!addStrip(left, m0 + at, g0 + at, q + at, height, width, first, block, mask4, limit4)) {
        takeRows(m, nextInM, g, nextInG, i, cols)
        takeRows(m0, nextInM, g0, nextInG, height, j + width)
        return false
      }
    }
  }
  return true
}

/**
 * Does one to four rows by one strip of columns. Returns false if a value is too large.
 *
 *   first  overwrite P rather than add to it
 */
function addStrip(
  p: usize,
  m: usize,
  g: usize,
  q: usize,
  rows: i32,
  cols: i32,
  first: bool,
  block: usize,
  mask4: v128,
  limit4: v128,
): bool {
  const rank = rankOf(block)
  const nextInM = nextInMOf(block)
  const nextInG = nextInGOf(block)
  const nextInP = nextInPOf(block)
  const nextInQ = nextInQOf(block)
  const whole = rows == 4 && rank > 0 ? cols & ~3 : 0
  let largest4 = i32x4.splat(0)
  if (whole > 0) {
    // The sums M + g are multiplied with the first columns of Q while they are in registers; `dots`
    // does the other columns.
    let ranks = 1
    if (rank >= 4) {
      const m2 = m + 2 * nextInM
      const g2 = g + 2 * nextInG
      const left = p + 8
      largest4 = i32x4.max_s(
        add2x4(p, nextInP, m, nextInM, g, nextInG, q, nextInQ, whole, first, mask4, limit4),
        add2x4(left, nextInP, m2, nextInM, g2, nextInG, q, nextInQ, whole, first, mask4, limit4),
      )
      ranks = 4
    } else if (rank >= 2) {
      largest4 = add4x2(p, nextInP, m, nextInM, g, nextInG, q, nextInQ, whole, first, mask4, limit4)
      ranks = 2
    } else {
      largest4 = add4x1(p, m, nextInM, g, nextInG, q, whole, first, mask4, limit4)
    }
    if (ranks < rank) {
      const left = p + <usize>ranks * nextInP
      const right = q + <usize>ranks * nextInQ
      dots(left, nextInP, m, nextInM, right, nextInQ, 4, whole, rank - ranks, first)
    }
  }
  if (whole < cols) {
    const at = <usize>whole << 2
    const rest = cols - whole
    for (let i: usize = 0; i < <usize>rows; i++) {
      largest4 = addRow(m + at + i * nextInM, g + at + i * nextInG, rest, largest4, mask4, limit4)
    }
    if (rank > 0) {
      dots(p, nextInP, m + at, nextInM, q + at, nextInQ, rows, rest, rank, first && whole == 0)
    }
  }
  return !v128.any_true(i32x4.ge_s(largest4, limit4))
}

/** Four columns of Q and two rows: tile2x4 with M ← M + g. */
function add2x4(
  p: usize,
  nextInP: usize,
  m: usize,
  nextInM: usize,
  g: usize,
  nextInG: usize,
  q: usize,
  nextInQ: usize,
  cols: i32,
  first: bool,
  mask4: v128,
  limit4: v128,
): v128 {
  return tile2x4(
    p,
    4,
    nextInP,
    m,
    nextInM,
    g,
    nextInG,
    q,
    nextInQ,
    cols,
    first,
    true,
    mask4,
    limit4,
  )
}

/** Two columns of Q and four rows: tile4 with M ← M + g. */
function add4x2(
  p: usize,
  nextInP: usize,
  m: usize,
  nextInM: usize,
  g: usize,
  nextInG: usize,
  q: usize,
  nextInQ: usize,
  cols: i32,
  first: bool,
  mask4: v128,
  limit4: v128,
): v128 {
  return tile4(
    true,
    p,
    4,
    nextInP,
    m,
    nextInM,
    g,
    nextInG,
    q,
    nextInQ,
    cols,
    first,
    true,
    mask4,
    limit4,
  )
}

/** One column of Q and four rows: tile4 with M ← M + g. */
function add4x1(
  p: usize,
  m: usize,
  nextInM: usize,
  g: usize,
  nextInG: usize,
  q: usize,
  cols: i32,
  first: bool,
  mask4: v128,
  limit4: v128,
): v128 {
  return tile4(false, p, 4, 0, m, nextInM, g, nextInG, q, 0, cols, first, true, mask4, limit4)
}

/** M ← M + g on n floats. Returns largest4, updated with the magnitudes of g and M + g, as bits. */
function addRow(
  m: usize,
  g: usize,
  n: i32,
  largest4: v128,
  mask4: v128,
  limit4: v128,
): v128 {
  for (const end = m + ((<usize>n & ~3) << 2); m < end; m += 16, g += 16) {
    const g4 = v128.load(g)
    const size4 = v128.and(g4, mask4)
    const sum4 = f32x4.add(v128.load(m), below(g4, size4, limit4))
    v128.store(m, sum4)
    largest4 = i32x4.max_s(i32x4.max_s(largest4, size4), v128.and(sum4, mask4))
  }
  const rest = n & 3
  if (rest) {
    const g4 = loadFirst(g, rest)
    const size4 = v128.and(g4, mask4)
    const sum4 = f32x4.add(loadFirst(m, rest), below(g4, size4, limit4))
    storeFirst(m, sum4, rest)
    largest4 = i32x4.max_s(i32x4.max_s(largest4, size4), v128.and(sum4, mask4))
  }
  return largest4
}

/**
 * M ← M − g on rows × cols, where g had been added. A g that is too large was not added: see
 * below().
 */
function takeRows(m: usize, nextInM: usize, g: usize, nextInG: usize, rows: i32, cols: i32): void {
  const mask4 = magnitudeMask(0)
  const limit4 = limits(0)
  for (let i = 0; i < rows; i++, m += nextInM, g += nextInG) {
    for (let j = 0; j < cols; j += 4) {
      const at = <usize>j << 2
      const n = cols - j
      const g4 = loadFirst(g + at, n)
      const taken4 = below(g4, v128.and(g4, mask4), limit4)
      storeFirst(m + at, f32x4.sub(loadFirst(m + at, n), taken4), n)
    }
  }
}
