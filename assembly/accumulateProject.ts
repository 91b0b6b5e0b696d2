// M ← M + g, P ← M·Q                              twin: shaders/accumulateProject.wgsl
import {
  BLOCK_BYTES,
  colsOf,
  firstOf,
  formerOf,
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
import { largestOf, magnitude, tile2x4, tile4 } from './inline/tiles'
import { scattered, touch } from './inline/touch'

// The results of accumulateProject; src/backends/wasm/load.ts has the same numbers.
const DONE: i32 = 0
const REFUSED: i32 = 1
const DWARFED: i32 = 2

/** The bits of 2¹⁰⁰ and 2⁹⁹, shifted to the left by one: see `magnitude`. */
const LIMIT: u32 = 0xe3000000
const HALF_LIMIT: u32 = 0xe2000000

/**
 * Adds the gradient to the residual and projects the sum onto the right factor. Reads each once.
 *
 *   p       out     rows × rank  by column; overlaps nothing else
 *   m       in/out  rows × cols  by row; overlaps nothing else
 *   g       in      rows × cols  by row, with a stride of its own
 *   q       in      cols × rank  by column
 *   former  out     rows × cols  M as it was, with the stride of g; is g, or does not overlap it
 *   blocks  in      count blocks, see inline/block.ts; for raw tensors (rank 0) only M ← M + g
 *
 * Returns
 *
 *   REFUSED  some g or some M + g is not finite or not below 2¹⁰⁰ in magnitude. M of all blocks is
 *            as it was, to the bit; P is undefined.
 *   DWARFED  in some block the largest |g| is more than 8 times the largest former |M|, which is
 *            not 0. So (M + g) − g is not the former M to 1e-6 of its largest element. Who may want
 *            to take g out again must keep `former`, all of which has been written.
 *   DONE     otherwise
 *
 * If M is below 2¹⁰⁰, neither its factors nor its residual overflow: no element of P·Qᵀ is larger
 * than ‖M‖, which is below 2¹⁰⁰·√(rows·cols) ≤ 2¹¹⁶. src/backends/reference.ts has the same number.
 */
export function accumulateProject(
  p: usize,
  m: usize,
  g: usize,
  q: usize,
  former: usize,
  blocks: usize,
  count: i32,
): i32 {
  const end = blocks + <usize>count * BLOCK_BYTES
  let result = DONE
  for (let block = blocks; block < end; block += BLOCK_BYTES) {
    const g0 = g + gOf(block)
    const save = former + formerOf(block) - g0
    const largest4 = add(p + pOf(block), m + mOf(block), g0, q + qOf(block), save, block)
    const inG = max(<u32>i32x4.extract_lane(largest4, 0), <u32>i32x4.extract_lane(largest4, 1))
    const inM = max(<u32>i32x4.extract_lane(largest4, 2), <u32>i32x4.extract_lane(largest4, 3))
    // Two numbers below 2⁹⁹ have a sum below 2¹⁰⁰.
    if (inG >= LIMIT || (max(inG, inM) >= HALF_LIMIT && !isBelow(m, block))) {
      for (let done = blocks; done <= block; done += BLOCK_BYTES) restore(m, former, done)
      return REFUSED
    }
    const sizeM = reinterpret<f32>(inM >> 1)
    if (sizeM > 0 && reinterpret<f32>(inG >> 1) > 8 * sizeM) result = DWARFED
  }
  return result
}

/** Whether all of a block's M is below 2¹⁰⁰. Hardly ever called. */
function isBelow(m: usize, block: usize): bool {
  m += mOf(block)
  const bytes = <usize>colsOf(block) << 2
  for (let i = rowsOf(block); i > 0; i--, m += nextInMOf(block)) {
    for (let at: usize = 0; at < bytes; at += 4) {
      if (load<u32>(m + at) << 1 >= LIMIT) return false
    }
  }
  return true
}

/** M ← former */
function restore(m: usize, former: usize, block: usize): void {
  m += mOf(block)
  former += formerOf(block)
  const bytes = <usize>colsOf(block) << 2
  for (let i = rowsOf(block); i > 0; i--, m += nextInMOf(block), former += nextInGOf(block)) {
    memory.copy(m, former, bytes)
  }
}

/** Does one block. Returns the largest magnitudes, as `largestOf` does. */
function add(p: usize, m: usize, g: usize, q: usize, save: usize, block: usize): v128 {
  const rows = rowsOf(block)
  const cols = colsOf(block)
  const rank = rankOf(block)
  const strip = rank > 0 ? STRIP : cols
  const nextInM = nextInMOf(block)
  const nextInG = nextInGOf(block)
  const touching = rank > 2 && scattered(nextInM, rows, cols)
  let largest4 = i32x4.splat(0)
  for (let i = 0; i < rows; i += 4, p += 16, m += 4 * nextInM, g += 4 * nextInG) {
    const height = min(4, rows - i)
    if (touching) {
      touch(m, nextInM, height, cols)
      touch(g, nextInG, height, cols)
    }
    for (let j = 0; j < cols; j += strip) {
      const at = <usize>j << 2
      const width = min(strip, cols - j)
      const first = firstOf(block) && j == 0
      largest4 = i32x4.max_u(
        largest4,
        addStrip(p, m + at, g + at, q + at, height, width, first, block, save),
      )
    }
  }
  return largest4
}

/**
 * Does one to four rows by one strip of columns. Returns the largest magnitudes.
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
  save: usize,
): v128 {
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
      largest4 = i32x4.max_u(
        add2x4(p, nextInP, m, nextInM, g, nextInG, q, nextInQ, whole, first, save),
        add2x4(left, nextInP, m2, nextInM, g2, nextInG, q, nextInQ, whole, first, save),
      )
      ranks = 4
    } else if (rank >= 2) {
      largest4 = add4x2(p, nextInP, m, nextInM, g, nextInG, q, nextInQ, whole, first, save)
      ranks = 2
    } else {
      largest4 = add4x1(p, m, nextInM, g, nextInG, q, whole, first, save)
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
      const inRow4 = addRow(m + at + i * nextInM, g + at + i * nextInG, rest, save)
      largest4 = i32x4.max_u(largest4, inRow4)
    }
    if (rank > 0) {
      dots(p, nextInP, m + at, nextInM, q + at, nextInQ, rows, rest, rank, first && whole == 0)
    }
  }
  return largest4
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
  save: usize,
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
    save,
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
  save: usize,
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
    save,
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
  save: usize,
): v128 {
  return tile4(false, p, 4, 0, m, nextInM, g, nextInG, q, 0, cols, first, true, save)
}

/** M ← M + g on n floats. Returns the largest magnitudes. */
function addRow(m: usize, g: usize, n: i32, save: usize): v128 {
  let inG4 = i32x4.splat(0)
  let inM4 = inG4
  for (const end = m + ((<usize>n & ~3) << 2); m < end; m += 16, g += 16) {
    const g4 = v128.load(g)
    const m4 = v128.load(m)
    v128.store(g + save, m4)
    v128.store(m, f32x4.add(m4, g4))
    inG4 = i32x4.max_u(inG4, magnitude(g4))
    inM4 = i32x4.max_u(inM4, magnitude(m4))
  }
  const rest = n & 3
  if (rest) {
    const g4 = loadFirst(g, rest)
    const m4 = loadFirst(m, rest)
    storeFirst(g + save, m4, rest)
    storeFirst(m, f32x4.add(m4, g4), rest)
    inG4 = i32x4.max_u(inG4, magnitude(g4))
    inM4 = i32x4.max_u(inM4, magnitude(m4))
  }
  return largestOf(inG4, inM4)
}
