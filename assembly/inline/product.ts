import { loadFirst, madd, storeFirst } from './lanes'

/**
 * Y ← scale·P·Qᵀ, or Y ← Y + scale·P·Qᵀ, for one to four consecutive rows.
 *
 *   y      out  rows × cols  by row, nextInY bytes from one to the next; rows ≤ 4
 *   p      in   rows × rank  by column, nextInP bytes from one to the next
 *   q      in   cols × rank  by column, nextInQ bytes from one to the next; rank ≥ 1
 *
 * Workers must agree on these bits. An element is p₀·q₀, then + p_k·q_k in ascending k; each
 * product and each sum is rounded to float32. The sum is multiplied by scale, then added to y. With
 * scale −1 the result is Y − P·Qᵀ to the bit.
 */
export function product(
  y: usize,
  nextInY: usize,
  p: usize,
  nextInP: usize,
  q: usize,
  nextInQ: usize,
  rows: i32,
  cols: i32,
  rank: i32,
  scale: f32,
  accumulate: bool,
): void {
  // With fewer than four rows, each missing one is the row before it: computed again, and stored to
  // the same place.
  const at1: usize = rows > 1 ? 4 : 0
  const at2: usize = rows > 2 ? at1 + 4 : at1
  const at3: usize = rows > 3 ? at2 + 4 : at2
  let y1 = rows > 1 ? y + nextInY : y
  let y2 = rows > 2 ? y1 + nextInY : y1
  let y3 = rows > 3 ? y2 + nextInY : y2
  const scale4 = f32x4.splat(scale)
  const step = <usize>(rank - 1)
  const lastP = p + step * nextInP
  // Four rows by eight columns: eight sums, and room for the operands in the 16 registers of x86.
  let j = 0
  for (; j + 8 <= cols; j += 8, q += 32) {
    let at = q
    let w4 = v128.load(at)
    let x4 = v128.load(at, 16)
    let p4 = v128.load_splat<f32>(p)
    let a0 = f32x4.mul(p4, w4)
    let a1 = f32x4.mul(p4, x4)
    p4 = v128.load_splat<f32>(p + at1)
    let b0 = f32x4.mul(p4, w4)
    let b1 = f32x4.mul(p4, x4)
    p4 = v128.load_splat<f32>(p + at2)
    let c0 = f32x4.mul(p4, w4)
    let c1 = f32x4.mul(p4, x4)
    p4 = v128.load_splat<f32>(p + at3)
    let d0 = f32x4.mul(p4, w4)
    let d1 = f32x4.mul(p4, x4)
    for (let left = p; left < lastP; ) {
      left += nextInP
      at += nextInQ
      w4 = v128.load(at)
      x4 = v128.load(at, 16)
      p4 = v128.load_splat<f32>(left)
      a0 = madd(a0, p4, w4)
      a1 = madd(a1, p4, x4)
      p4 = v128.load_splat<f32>(left + at1)
      b0 = madd(b0, p4, w4)
      b1 = madd(b1, p4, x4)
      p4 = v128.load_splat<f32>(left + at2)
      c0 = madd(c0, p4, w4)
      c1 = madd(c1, p4, x4)
      p4 = v128.load_splat<f32>(left + at3)
      d0 = madd(d0, p4, w4)
      d1 = madd(d1, p4, x4)
    }
    a0 = f32x4.mul(a0, scale4)
    a1 = f32x4.mul(a1, scale4)
    b0 = f32x4.mul(b0, scale4)
    b1 = f32x4.mul(b1, scale4)
    c0 = f32x4.mul(c0, scale4)
    c1 = f32x4.mul(c1, scale4)
    d0 = f32x4.mul(d0, scale4)
    d1 = f32x4.mul(d1, scale4)
    if (accumulate) {
      a0 = f32x4.add(v128.load(y), a0)
      a1 = f32x4.add(v128.load(y, 16), a1)
      b0 = f32x4.add(v128.load(y1), b0)
      b1 = f32x4.add(v128.load(y1, 16), b1)
      c0 = f32x4.add(v128.load(y2), c0)
      c1 = f32x4.add(v128.load(y2, 16), c1)
      d0 = f32x4.add(v128.load(y3), d0)
      d1 = f32x4.add(v128.load(y3, 16), d1)
    }
    v128.store(y, a0)
    v128.store(y, a1, 16)
    v128.store(y1, b0)
    v128.store(y1, b1, 16)
    v128.store(y2, c0)
    v128.store(y2, c1, 16)
    v128.store(y3, d0)
    v128.store(y3, d1, 16)
    y += 32
    y1 += 32
    y2 += 32
    y3 += 32
  }
  // The remaining columns, up to four at a time.
  for (; j < cols; j += 4, q += 16) {
    const n = cols - j
    let at = q
    let w4 = loadFirst(at, n)
    let a0 = f32x4.mul(v128.load_splat<f32>(p), w4)
    let b0 = f32x4.mul(v128.load_splat<f32>(p + at1), w4)
    let c0 = f32x4.mul(v128.load_splat<f32>(p + at2), w4)
    let d0 = f32x4.mul(v128.load_splat<f32>(p + at3), w4)
    for (let left = p; left < lastP; ) {
      left += nextInP
      at += nextInQ
      w4 = loadFirst(at, n)
      a0 = madd(a0, v128.load_splat<f32>(left), w4)
      b0 = madd(b0, v128.load_splat<f32>(left + at1), w4)
      c0 = madd(c0, v128.load_splat<f32>(left + at2), w4)
      d0 = madd(d0, v128.load_splat<f32>(left + at3), w4)
    }
    a0 = f32x4.mul(a0, scale4)
    b0 = f32x4.mul(b0, scale4)
    c0 = f32x4.mul(c0, scale4)
    d0 = f32x4.mul(d0, scale4)
    if (accumulate) {
      a0 = f32x4.add(loadFirst(y, n), a0)
      b0 = f32x4.add(loadFirst(y1, n), b0)
      c0 = f32x4.add(loadFirst(y2, n), c0)
      d0 = f32x4.add(loadFirst(y3, n), d0)
    }
    storeFirst(y, a0, n)
    storeFirst(y1, b0, n)
    storeFirst(y2, c0, n)
    storeFirst(y3, d0, n)
    y += 16
    y1 += 16
    y2 += 16
    y3 += 16
  }
}
