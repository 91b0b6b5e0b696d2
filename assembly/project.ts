// P ← M·Q                                         twin: shaders/accumulateProject.wgsl
import {
  BLOCK_BYTES,
  colsOf,
  firstOf,
  mOf,
  nextInMOf,
  nextInPOf,
  nextInQOf,
  pOf,
  qOf,
  rankOf,
  rowsOf,
} from './inline/block'
import { dots, STRIP } from './inline/dots'
import { scattered, touch } from './inline/touch'

/**
 * Projects every matrix of the table onto its right factor; raw tensors are skipped.
 *
 *   p       out  rows × rank  by column; overlaps neither m nor q
 *   m       in   rows × cols  by row
 *   q       in   cols × rank  by column
 *   blocks  in   count blocks, see inline/block.ts; blocks that share rows come in the order of
 *                their columns
 */
export function project(p: usize, m: usize, q: usize, blocks: usize, count: i32): void {
  const end = blocks + <usize>count * BLOCK_BYTES
  for (let block = blocks; block < end; block += BLOCK_BYTES) {
    if (rankOf(block) > 0) projectBlock(p + pOf(block), m + mOf(block), q + qOf(block), block)
  }
}

function projectBlock(p: usize, m: usize, q: usize, block: usize): void {
  const rows = rowsOf(block)
  const cols = colsOf(block)
  const rank = rankOf(block)
  const nextInP = nextInPOf(block)
  const nextInM = nextInMOf(block)
  const nextInQ = nextInQOf(block)
  const first = firstOf(block)
  const touching = rank > 2 && scattered(nextInM, rows, cols)
  // Rows outermost: M is far larger than Q, and in this order is read from memory once.
  for (let i = 0; i < rows; i += 4, m += 4 * nextInM, p += 16) {
    const height = min(4, rows - i)
    if (touching) touch(m, nextInM, height, cols)
    for (let j = 0; j < cols; j += STRIP) {
      const at = <usize>j << 2
      const width = min(STRIP, cols - j)
      dots(p, nextInP, m + at, nextInM, q + at, nextInQ, height, width, rank, first && j == 0)
    }
  }
}
