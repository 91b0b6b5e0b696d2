// Y ← scale·P·meanᵀ (+ Y), M ← M − P·ownᵀ
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

/**
 * Ends a step: `reconstruct` from everyone's factor and `residual` with the worker's own, four rows
 * at a time, so that P is read once. The bits are those of the two.
 *
 *   y       out     rows × cols  by row, where the blocks' word g says; overlaps nothing else
 *   m       in/out  rows × cols  by row; overlaps nothing else
 *   p       in      rows × rank  by column
 *   own     in      cols × rank  by column
 *   mean    in      cols × rank  by column; may be own
 *   blocks  in      count blocks, see inline/block.ts; raw tensors are passed over
 */
export function settle(
  y: usize,
  m: usize,
  p: usize,
  own: usize,
  mean: usize,
  blocks: usize,
  count: i32,
  scale: f32,
  accumulate: i32,
): void {
  const end = blocks + <usize>count * BLOCK_BYTES
  for (let block = blocks; block < end; block += BLOCK_BYTES) {
    const rank = rankOf(block)
    if (rank <= 0) continue
    const rows = rowsOf(block)
    const cols = colsOf(block)
    const nextInY = nextInGOf(block)
    const nextInM = nextInMOf(block)
    const nextInP = nextInPOf(block)
    const nextInQ = nextInQOf(block)
    const at = qOf(block)
    let out = y + gOf(block)
    let rest = m + mOf(block)
    let left = p + pOf(block)
    for (let i = 0; i < rows; i += 4) {
      const height = min(4, rows - i)
      product(rest, nextInM, left, nextInP, own + at, nextInQ, height, cols, rank, -1, true)
      product(
        out,
        nextInY,
        left,
        nextInP,
        mean + at,
        nextInQ,
        height,
        cols,
        rank,
        scale,
        accumulate != 0,
      )
      out += 4 * nextInY
      rest += 4 * nextInM
      left += 16
    }
  }
}
