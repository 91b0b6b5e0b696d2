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
import { madd } from './inline/lanes'
import { product } from './inline/product'

/**
 * Columns taken at a time: two rows of this width, then the two below, so that four rows come from
 * memory at once. Rows two by two throughout are 10 to 15 % slower where M is not in cache.
 */
const STRIP: i32 = 64

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
    if (rankOf(block) <= 0) continue
    const at = qOf(block)
    const out = y + gOf(block)
    const rest = m + mOf(block)
    settleBlock(out, rest, p + pOf(block), own + at, mean + at, block, scale, accumulate != 0)
  }
}

function settleBlock(
  y: usize,
  m: usize,
  p: usize,
  own: usize,
  mean: usize,
  block: usize,
  scale: f32,
  accumulate: bool,
): void {
  const rows = rowsOf(block)
  const cols = colsOf(block)
  const rank = rankOf(block)
  const shift = mean - own
  const nextInY = nextInGOf(block)
  const nextInM = nextInMOf(block)
  const nextInP = nextInPOf(block)
  const nextInQ = nextInQOf(block)
  for (let i = 0; i < rows; i += 4) {
    const height = min(4, rows - i)
    // At higher ranks products take longer than memory, and one after the other will do.
    const whole = height == 4 && rank <= 4 ? cols & ~3 : 0
    for (let j = 0; j < whole; j += STRIP) {
      const at = <usize>j << 2
      const width = min(STRIP, whole - j)
      for (let pair: usize = 0; pair < 4; pair += 2) {
        const out = y + at + pair * nextInY
        const rest = m + at + pair * nextInM
        const left = p + (pair << 2)
        const right = own + at
        pairOf(
          rank,
          out,
          nextInY,
          rest,
          nextInM,
          left,
          nextInP,
          right,
          shift,
          nextInQ,
          width,
          scale,
          accumulate,
        )
      }
    }
    if (whole < cols) {
      const at = <usize>whole << 2
      const out = y + at
      const right = own + at
      const width = cols - whole
      product(m + at, nextInM, p, nextInP, right, nextInQ, height, width, rank, -1, true)
      const meanAt = right + shift
      product(out, nextInY, p, nextInP, meanAt, nextInQ, height, width, rank, scale, accumulate)
    }
    y += 4 * nextInY
    m += 4 * nextInM
    p += 16
  }
}

/** Two neighbouring rows; the columns of mean lie shift bytes from those of own. */
// @ts-ignore: decorator
@inline
function pairOf(
  rank: i32,
  y: usize,
  nextInY: usize,
  m: usize,
  nextInM: usize,
  p: usize,
  nextInP: usize,
  own: usize,
  shift: usize,
  nextInQ: usize,
  cols: i32,
  scale: f32,
  accumulate: bool,
): void {
  if (rank == 1) {
    tile(1, y, nextInY, m, nextInM, p, nextInP, own, shift, nextInQ, cols, scale, accumulate)
  } else if (rank == 2) {
    tile(2, y, nextInY, m, nextInM, p, nextInP, own, shift, nextInQ, cols, scale, accumulate)
  } else if (rank == 3) {
    tile(3, y, nextInY, m, nextInM, p, nextInP, own, shift, nextInQ, cols, scale, accumulate)
  } else {
    tile(4, y, nextInY, m, nextInM, p, nextInP, own, shift, nextInQ, cols, scale, accumulate)
  }
}

/** `pairOf` with the elements of P in registers. */
// @ts-ignore: decorator
@inline
function tile(
  rank: i32,
  y: usize,
  nextInY: usize,
  m: usize,
  nextInM: usize,
  p: usize,
  nextInP: usize,
  own: usize,
  shift: usize,
  nextInQ: usize,
  cols: i32,
  scale: f32,
  accumulate: bool,
): void {
  const p00 = v128.load_splat<f32>(p)
  const p10 = v128.load_splat<f32>(p, 4)
  let p01 = p00
  let p11 = p00
  let p02 = p00
  let p12 = p00
  let p03 = p00
  let p13 = p00
  if (rank > 1) {
    p += nextInP
    p01 = v128.load_splat<f32>(p)
    p11 = v128.load_splat<f32>(p, 4)
  }
  if (rank > 2) {
    p += nextInP
    p02 = v128.load_splat<f32>(p)
    p12 = v128.load_splat<f32>(p, 4)
  }
  if (rank > 3) {
    p += nextInP
    p03 = v128.load_splat<f32>(p)
    p13 = v128.load_splat<f32>(p, 4)
  }
  const scale4 = f32x4.splat(scale)
  for (const end = m + (<usize>cols << 2); m < end; m += 16, y += 16, own += 16) {
    let right = own
    let w4 = v128.load(right)
    let a4 = f32x4.mul(p00, w4)
    let b4 = f32x4.mul(p10, w4)
    if (rank > 1) {
      right += nextInQ
      w4 = v128.load(right)
      a4 = madd(a4, p01, w4)
      b4 = madd(b4, p11, w4)
    }
    if (rank > 2) {
      right += nextInQ
      w4 = v128.load(right)
      a4 = madd(a4, p02, w4)
      b4 = madd(b4, p12, w4)
    }
    if (rank > 3) {
      right += nextInQ
      w4 = v128.load(right)
      a4 = madd(a4, p03, w4)
      b4 = madd(b4, p13, w4)
    }
    v128.store(m, f32x4.sub(v128.load(m), a4))
    v128.store(m + nextInM, f32x4.sub(v128.load(m + nextInM), b4))
    right = own + shift
    w4 = v128.load(right)
    a4 = f32x4.mul(p00, w4)
    b4 = f32x4.mul(p10, w4)
    if (rank > 1) {
      right += nextInQ
      w4 = v128.load(right)
      a4 = madd(a4, p01, w4)
      b4 = madd(b4, p11, w4)
    }
    if (rank > 2) {
      right += nextInQ
      w4 = v128.load(right)
      a4 = madd(a4, p02, w4)
      b4 = madd(b4, p12, w4)
    }
    if (rank > 3) {
      right += nextInQ
      w4 = v128.load(right)
      a4 = madd(a4, p03, w4)
      b4 = madd(b4, p13, w4)
    }
    a4 = f32x4.mul(a4, scale4)
    b4 = f32x4.mul(b4, scale4)
    if (accumulate) {
      a4 = f32x4.add(v128.load(y), a4)
      b4 = f32x4.add(v128.load(y + nextInY), b4)
    }
    v128.store(y, a4)
    v128.store(y + nextInY, b4)
  }
}
