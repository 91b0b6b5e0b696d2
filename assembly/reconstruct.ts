// Y ← scale·P·Qᵀ (+ Y)                            twin: shaders/settle.wgsl
import {
  BLOCK_BYTES,
  colsOf,
  gOf,
  nextInGOf,
  nextInPOf,
  nextInQOf,
  pOf,
  qOf,
  rankOf,
  rowsOf,
} from './inline/block'
import { product } from './inline/product'

/**
 * Writes every matrix's update, or adds it; raw tensors are skipped. Workers must agree on the
 * bits: inline/product.ts has the order of each sum.
 *
 *   y       out  rows × cols  by row, at the offset in the block's word g; overlaps neither p nor q
 *   p       in   rows × rank  by column
 *   q       in   cols × rank  by column
 *   blocks  in   count blocks, see inline/block.ts
 */
export function reconstruct(
  y: usize,
  p: usize,
  q: usize,
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
    const nextInY = nextInGOf(block)
    const right = q + qOf(block)
    let out = y + gOf(block)
    let left = p + pOf(block)
    for (let i = 0; i < rows; i += 4, out += 4 * nextInY, left += 16) {
      product(
        out,
        nextInY,
        left,
        nextInPOf(block),
        right,
        nextInQOf(block),
        min(4, rows - i),
        colsOf(block),
        rank,
        scale,
        accumulate != 0,
      )
    }
  }
}
