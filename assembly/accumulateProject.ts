// M ← M + g, P ← M·Q
import { accumulate } from './accumulate'
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
import { loadFirst } from './inline/lanes'

/**
 * The bits of 2¹⁰⁰. An M below it has no factor that overflows, and leaves no residual that does:
 * no element of P·Qᵀ is larger than ‖M‖, which is below 2¹⁰⁰·√(rows·cols) ≤ 2¹¹⁶. The twin of this
 * number is in src/backends/reference.ts.
 */
const LIMIT: i32 = 0x71800000

/**
 * Adds the gradient to what is left of earlier ones and projects the sum, in one reading of both.
 *
 *   p       out     rows × rank  by column; overlaps nothing else
 *   m       in/out  rows × cols  by row
 *   g       in      rows × cols  by row, with a stride of its own
 *   q       in      cols × rank  by column
 *   blocks  in      count blocks, see inline/block.ts; of raw tensors only M + g is formed
 *
 * Returns count; or, where some M + g is not finite or not below 2¹⁰⁰, the number of its block.
 * M in that block is then what it was, to the rounding of g where g had been added and taken back
 * and else to the bit; P in it is undefined; the blocks before it are done, and those after it
 * untouched.
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

/** One block; false where some M + g is too large. */
function add(p: usize, m: usize, g: usize, q: usize, block: usize): bool {
  const rows = rowsOf(block)
  const cols = colsOf(block)
  const rank = rankOf(block)
  const nextInM = nextInMOf(block)
  const nextInG = nextInGOf(block)
  const nextInP = nextInPOf(block)
  const nextInQ = nextInQOf(block)
  const first = firstOf(block)
  for (let i = 0; i < rows; i += 4) {
    const height = min(4, rows - i)
    const m0 = m + <usize>i * nextInM
    const g0 = g + <usize>i * nextInG
    for (let j = 0; j < cols; j += STRIP) {
      const at = <usize>j << 2
      const width = min(STRIP, cols - j)
      // First looked at, then stored: an infinite sum could not be taken back. The two
      // further readings of the strip are from the cache.
      for (let row = 0; row < height; row++) {
        if (!below(m0 + at + <usize>row * nextInM, g0 + at + <usize>row * nextInG, width)) {
          accumulateRows(m, nextInM, g, nextInG, i, cols, -1)
          accumulateRows(m0, nextInM, g0, nextInG, height, j, -1)
          return false
        }
      }
      accumulateRows(m0 + at, nextInM, g0 + at, nextInG, height, width, 1)
      if (rank > 0) {
        const left = p + (<usize>i << 2)
        dots(left, nextInP, m0 + at, nextInM, q + at, nextInQ, height, width, rank, first && j == 0)
      }
    }
  }
  return true
}

/** M ← M + a·g on rows × cols. */
function accumulateRows(
  m: usize,
  nextInM: usize,
  g: usize,
  nextInG: usize,
  rows: i32,
  cols: i32,
  a: f32,
): void {
  for (let i = 0; i < rows; i++, m += nextInM, g += nextInG) accumulate(m, g, cols, a)
}

/** Whether |x + y| is below LIMIT in all n elements. */
function below(x: usize, y: usize, n: i32): bool {
  const magnitude4 = i32x4.splat(0x7fffffff)
  let largest4 = i32x4.splat(0)
  for (const end = x + ((<usize>n & ~3) << 2); x < end; x += 16, y += 16) {
    const sum4 = f32x4.add(v128.load(x), v128.load(y))
    largest4 = i32x4.max_s(largest4, v128.and(sum4, magnitude4))
  }
  const rest = n & 3
  if (rest) {
    const sum4 = f32x4.add(loadFirst(x, rest), loadFirst(y, rest))
    largest4 = i32x4.max_s(largest4, v128.and(sum4, magnitude4))
  }
  return !v128.any_true(i32x4.ge_s(largest4, i32x4.splat(LIMIT)))
}
