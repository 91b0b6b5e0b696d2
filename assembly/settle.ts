// Y ← scale·P·qMeanᵀ (+ Y), M ← M − P·qLocalᵀ         twin: shaders/settle.wgsl
import {
  BLOCK_BYTES,
  colsOf,
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
import { product } from './inline/product'
import { settle2x3, settle2x4, settle4x1, settle4x2 } from './inline/settling'
import { scattered, touch } from './inline/touch'

/**
 * Columns done at a time by the tiles of two rows, first for the upper pair of rows and then for
 * the lower one, so that all four rows are read from memory together.
 */
const STRIP: i32 = 256

/**
 * Ends a step: `reconstruct` from the mean of all workers' Q, and `residual` from the worker's own
 * Q. It does four rows at a time, so that P is read once. The bits are the same as those of the two
 * kernels.
 *
 *   y       out     rows × cols  by row, at the offset in the block's word g; overlaps nothing else
 *   m       in/out  rows × cols  by row; overlaps nothing else
 *   p       in      rows × rank  by column
 *   qLocal  in      cols × rank  by column
 *   qMean   in      cols × rank  by column; may be qLocal
 *   blocks  in      count blocks, see inline/block.ts; raw tensors are skipped
 */
export function settle(
  y: usize,
  m: usize,
  p: usize,
  qLocal: usize,
  qMean: usize,
  blocks: usize,
  count: i32,
  scale: f32,
  accumulate: i32,
): void {
  const end = blocks + <usize>count * BLOCK_BYTES
  for (let block = blocks; block < end; block += BLOCK_BYTES) {
    if (rankOf(block) <= 0) continue
    const at = qOf(block)
    const out = y + gOf(block)
    const rest = m + mOf(block)
    settleBlock(out, rest, p + pOf(block), qLocal + at, qMean + at, block, scale, accumulate != 0)
  }
}

function settleBlock(
  y: usize,
  m: usize,
  p: usize,
  qLocal: usize,
  qMean: usize,
  block: usize,
  scale: f32,
  accumulate: bool,
): void {
  const rows = rowsOf(block)
  const cols = colsOf(block)
  const rank = rankOf(block)
  const nextInY = nextInGOf(block)
  const nextInM = nextInMOf(block)
  const nextInP = nextInPOf(block)
  const nextInQ = nextInQOf(block)
  const touching = scattered(nextInM, rows, cols)
  for (let i = 0; i < rows; i += 4) {
    const height = min(4, rows - i)
    // At ranks above 4, arithmetic takes longer than memory, so the two products are done one after
    // the other.
    const whole = height == 4 && rank <= 4 ? cols & ~3 : 0
    if (touching) {
      touch(m, nextInM, height, cols)
      touch(y, nextInY, height, cols)
    }
    if (whole > 0) settleFour(y, m, p, qLocal, qMean - qLocal, block, whole, scale, accumulate)
    if (whole < cols) {
      const at = <usize>whole << 2
      const out = y + at
      const rest = m + at
      const right = qLocal + at
      const qMeanAt = qMean + at
      const width = cols - whole
      product(rest, nextInM, p, nextInP, right, nextInQ, height, width, rank, -1, true)
      product(out, nextInY, p, nextInP, qMeanAt, nextInQ, height, width, rank, scale, accumulate)
    }
    y += 4 * nextInY
    m += 4 * nextInM
    p += 16
  }
}

/**
 * Settles four rows. rank is 1 … 4, cols a multiple of four. qMean's columns lie `shift` bytes from
 * qLocal's.
 */
function settleFour(
  y: usize,
  m: usize,
  p: usize,
  qLocal: usize,
  shift: usize,
  block: usize,
  cols: i32,
  scale: f32,
  add: bool,
): void {
  const rank = rankOf(block)
  const nextInY = nextInGOf(block)
  const nextInM = nextInMOf(block)
  const nextInP = nextInPOf(block)
  const nextInQ = nextInQOf(block)
  if (rank == 1) {
    settle4x1(y, nextInY, m, nextInM, p, nextInP, qLocal, shift, nextInQ, cols, scale, add)
    return
  }
  if (rank == 2) {
    settle4x2(y, nextInY, m, nextInM, p, nextInP, qLocal, shift, nextInQ, cols, scale, add)
    return
  }
  const y2 = nextInY << 1
  const m2 = nextInM << 1
  const p2 = p + 8
  for (let j = 0; j < cols; j += STRIP) {
    const n = min(STRIP, cols - j)
    if (rank == 3) {
      settle2x3(y, nextInY, m, nextInM, p, nextInP, qLocal, shift, nextInQ, n, scale, add)
      settle2x3(y + y2, nextInY, m + m2, nextInM, p2, nextInP, qLocal, shift, nextInQ, n, scale, add)
    } else {
      settle2x4(y, nextInY, m, nextInM, p, nextInP, qLocal, shift, nextInQ, n, scale, add)
      settle2x4(y + y2, nextInY, m + m2, nextInM, p2, nextInP, qLocal, shift, nextInQ, n, scale, add)
    }
    y += STRIP << 2
    m += STRIP << 2
    qLocal += STRIP << 2
  }
}
