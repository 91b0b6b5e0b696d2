import { loadFirst, total } from './lanes'
import { put, tile2x4, tile4 } from './tiles'

/**
 * Columns that `project` and `accumulateProject` do at a time. Four rows of M are then 4 KB, and
 * still in the first cache when they are read for the next ranks. This number is part of the order
 * of the sums in P.
 */
export const STRIP: i32 = 256

/**
 * P ← M·Q, or P ← P + M·Q, for one to four consecutive rows and all columns of Q.
 *
 *   p      out     rows × rank  by column, nextInP bytes from one to the next
 *   m      in      rows × cols  by row, nextInM bytes from one to the next; rows ≤ 4
 *   q      in      cols × rank  by column, nextInQ bytes from one to the next
 *   first          overwrite P rather than add to it
 *
 * The order of each sum is fixed. Product j is added to lane j mod 4; the lanes are added as
 * (0 + 2) + (1 + 3); the result is added to P. Then the one to three columns past a multiple of
 * four are added in the same way. So an element of P has the same bits, whatever other rows and
 * ranks are computed with it.
 */
export function dots(
  p: usize,
  nextInP: usize,
  m: usize,
  nextInM: usize,
  q: usize,
  nextInQ: usize,
  rows: i32,
  cols: i32,
  rank: i32,
  first: bool,
): void {
  const whole = cols & ~3
  if (whole > 0 && rows == 4) {
    wholeDots(p, 4, nextInP, m, nextInM, q, nextInQ, whole, rank, first)
  } else if (whole > 0) {
    // One row, computed as if it were four: with nextRow and nextInM 0, all four are this one.
    for (let i = 0; i < rows; i++) {
      const left = p + (<usize>i << 2)
      wholeDots(left, 0, nextInP, m + <usize>i * nextInM, 0, q, nextInQ, whole, rank, first)
    }
  }
  if (whole < cols) {
    const at = <usize>whole << 2
    fewDots(p, nextInP, m + at, nextInM, q + at, nextInQ, rows, cols - whole, rank, first && !whole)
  }
}

/**
 * `dots` of four rows, or of one row (nextRow = nextInM = 0). cols is a positive multiple of four.
 *
 *   nextRow  bytes from row to row in P
 */
function wholeDots(
  p: usize,
  nextRow: usize,
  nextInP: usize,
  m: usize,
  nextInM: usize,
  q: usize,
  nextInQ: usize,
  cols: i32,
  rank: i32,
  first: bool,
): void {
  for (; rank >= 4; rank -= 4, p += 4 * nextInP, q += 4 * nextInQ) {
    dots2x4(p, nextRow, nextInP, m, nextInM, q, nextInQ, cols, first)
    if (!nextRow) continue
    dots2x4(p + 2 * nextRow, nextRow, nextInP, m + 2 * nextInM, nextInM, q, nextInQ, cols, first)
  }
  if (rank & 2) {
    dots4x2(p, nextRow, nextInP, m, nextInM, q, nextInQ, cols, first)
    p += 2 * nextInP
    q += 2 * nextInQ
  }
  if (rank & 1) dots4x1(p, nextRow, m, nextInM, q, cols, first)
}

/** `dots` of one to three columns. */
function fewDots(
  p: usize,
  nextInP: usize,
  m: usize,
  nextInM: usize,
  q: usize,
  nextInQ: usize,
  rows: i32,
  cols: i32,
  rank: i32,
  first: bool,
): void {
  for (let i = 0; i < rows; i++, p += 4, m += nextInM) {
    const a4 = loadFirst(m, cols)
    let out = p
    let right = q
    for (let k = 0; k < rank; k++, out += nextInP, right += nextInQ) {
      put(out, total(f32x4.mul(a4, loadFirst(right, cols))), first)
    }
  }
}

/** Two rows and four columns of Q: tile2x4 without M ← M + g. */
function dots2x4(
  p: usize,
  nextRow: usize,
  nextInP: usize,
  m: usize,
  nextInM: usize,
  q: usize,
  nextInQ: usize,
  cols: i32,
  first: bool,
): void {
  tile2x4(p, nextRow, nextInP, m, nextInM, 0, 0, q, nextInQ, cols, first, false, 0)
}

/** Four rows and two columns of Q: tile4 without M ← M + g. */
function dots4x2(
  p: usize,
  nextRow: usize,
  nextInP: usize,
  m: usize,
  nextInM: usize,
  q: usize,
  nextInQ: usize,
  cols: i32,
  first: bool,
): void {
  tile4(true, p, nextRow, nextInP, m, nextInM, 0, 0, q, nextInQ, cols, first, false, 0)
}

/** Four rows and one column of Q: tile4 without M ← M + g. */
function dots4x1(
  p: usize,
  nextRow: usize,
  m: usize,
  nextInM: usize,
  q: usize,
  cols: i32,
  first: bool,
): void {
  tile4(false, p, nextRow, 0, m, nextInM, 0, 0, q, 0, cols, first, false, 0)
}
