// M ← M − P·Qᵀ                                    twin: shaders/settle.wgsl
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
import { product } from './inline/product'

/**
 * Subtracts every matrix's low-rank product; raw tensors are skipped. The product has the same bits
 * as in `reconstruct`.
 *
 *   m       in/out  rows × cols  by row; overlaps neither p nor q
 *   p       in      rows × rank  by column
 *   q       in      cols × rank  by column
 *   blocks  in      count blocks, see inline/block.ts
 */
export function residual(m: usize, p: usize, q: usize, blocks: usize, count: i32): void {
  const end = blocks + <usize>count * BLOCK_BYTES
  for (let block = blocks; block < end; block += BLOCK_BYTES) {
    const rank = rankOf(block)
    if (rank <= 0) continue
    const rows = rowsOf(block)
    const nextInM = nextInMOf(block)
    const right = q + qOf(block)
    let out = m + mOf(block)
    let left = p + pOf(block)
    for (let i = 0; i < rows; i += 4, out += 4 * nextInM, left += 16) {
      product(
        out,
        nextInM,
        left,
        nextInPOf(block),
        right,
        nextInQOf(block),
        min(4, rows - i),
        colsOf(block),
        rank,
        -1,
        true,
      )
    }
  }
}
