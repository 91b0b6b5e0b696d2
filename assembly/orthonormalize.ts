// P ← an orthonormal basis of its own columns     twin: shaders/orthonormalize.wgsl
import { high, low, madd64, total64 } from './inline/lanes'

/**
 * A column depends on those before it if at most this fraction of its length, 2⁻²⁰, remains when
 * they are projected out. If a column is a copy of another, rounding to float32 leaves at most
 * √rank·2⁻²⁴ of it, which is at most 2⁻²⁰ up to 256 columns. At a condition number of 1e5, more
 * than 2⁻²⁰ remains.
 */
const DEPENDENT: f64 = 1.0 / 1048576.0

/**
 * Modified Gram–Schmidt with each column projected twice ("twice is enough": Giraud, Langou,
 * Rozložník, van den Eshof, 2005). One column at a time is held in float64, and rounded once.
 * Squares of float32 neither overflow nor underflow in float64, so the scale of a column does not
 * matter.
 *
 *   columns  in/out  rows × rank  by column
 *   from             the first column to work on; those before it are orthonormal already
 *   scratch  out     rows float64; overlaps nothing else
 *
 * Returns rank; or the number of the first column that is zero, not finite, or dependent on those
 * before it. That column is unchanged: the caller replaces it, and calls again with its number as
 * `from`.
 *
 * Workers must agree on these bits. So the order of all sums is fixed: four running lanes, added as
 * (0 + 2) + (1 + 3), then the one to three elements past a multiple of four.
 */
export function orthonormalize(
  columns: usize,
  rows: i32,
  rank: i32,
  from: i32,
  scratch: usize,
): i32 {
  const next = <usize>rows << 2
  let column = columns + <usize>from * next
  for (let k = from; k < rank; k++, column += next) {
    const before = Math.sqrt(widen(scratch, column, rows))
    if (!(before > 0 && before < Infinity)) return k
    let after = before
    if (k > 0) {
      // One pass both subtracts a former column and multiplies by the next one.
      let amount = dot(scratch, columns, rows)
      const turns = 2 * k
      for (let turn = 1; turn < turns; turn++) {
        const former = columns + <usize>((turn - 1) % k) * next
        amount = subtractAndDot(scratch, former, amount, columns + <usize>(turn % k) * next, rows)
      }
      after = Math.sqrt(subtract(scratch, columns + <usize>(k - 1) * next, amount, rows))
    }
    if (after <= DEPENDENT * before) return k
    narrow(column, scratch, after, rows)
  }
  return rank
}

// The five passes over a column c (float32) and the column v in scratch (float64): four elements at
// a time, then the one to three that remain.

/** v ← c. Returns Σ c². */
function widen(v: usize, c: usize, rows: i32): f64 {
  const end = c + (<usize>rows << 2)
  let low2 = f64x2.splat(0)
  let high2 = low2
  for (; c + 16 <= end; c += 16, v += 32) {
    const c4 = v128.load(c)
    const a2 = low(c4)
    const b2 = high(c4)
    v128.store(v, a2)
    v128.store(v, b2, 16)
    low2 = madd64(low2, a2, a2)
    high2 = madd64(high2, b2, b2)
  }
  let sum = total64(low2, high2)
  for (; c < end; c += 4, v += 8) {
    const a = <f64>load<f32>(c)
    store<f64>(v, a)
    sum += a * a
  }
  return sum
}

/** Returns c·v. */
function dot(v: usize, c: usize, rows: i32): f64 {
  const end = c + (<usize>rows << 2)
  let low2 = f64x2.splat(0)
  let high2 = low2
  for (; c + 16 <= end; c += 16, v += 32) {
    const c4 = v128.load(c)
    low2 = madd64(low2, low(c4), v128.load(v))
    high2 = madd64(high2, high(c4), v128.load(v, 16))
  }
  let sum = total64(low2, high2)
  for (; c < end; c += 4, v += 8) sum += <f64>load<f32>(c) * load<f64>(v)
  return sum
}

/** v ← v − amount·c. Returns d·v. */
function subtractAndDot(v: usize, c: usize, amount: f64, d: usize, rows: i32): f64 {
  const end = c + (<usize>rows << 2)
  const amount2 = f64x2.splat(amount)
  let low2 = f64x2.splat(0)
  let high2 = low2
  for (; c + 16 <= end; c += 16, d += 16, v += 32) {
    const c4 = v128.load(c)
    const d4 = v128.load(d)
    const a2 = f64x2.sub(v128.load(v), f64x2.mul(amount2, low(c4)))
    const b2 = f64x2.sub(v128.load(v, 16), f64x2.mul(amount2, high(c4)))
    v128.store(v, a2)
    v128.store(v, b2, 16)
    low2 = madd64(low2, low(d4), a2)
    high2 = madd64(high2, high(d4), b2)
  }
  let sum = total64(low2, high2)
  for (; c < end; c += 4, d += 4, v += 8) {
    const a = load<f64>(v) - amount * <f64>load<f32>(c)
    store<f64>(v, a)
    sum += <f64>load<f32>(d) * a
  }
  return sum
}

/** v ← v − amount·c. Returns Σ v². */
function subtract(v: usize, c: usize, amount: f64, rows: i32): f64 {
  const end = c + (<usize>rows << 2)
  const amount2 = f64x2.splat(amount)
  let low2 = f64x2.splat(0)
  let high2 = low2
  for (; c + 16 <= end; c += 16, v += 32) {
    const c4 = v128.load(c)
    const a2 = f64x2.sub(v128.load(v), f64x2.mul(amount2, low(c4)))
    const b2 = f64x2.sub(v128.load(v, 16), f64x2.mul(amount2, high(c4)))
    v128.store(v, a2)
    v128.store(v, b2, 16)
    low2 = madd64(low2, a2, a2)
    high2 = madd64(high2, b2, b2)
  }
  let sum = total64(low2, high2)
  for (; c < end; c += 4, v += 8) {
    const a = load<f64>(v) - amount * <f64>load<f32>(c)
    store<f64>(v, a)
    sum += a * a
  }
  return sum
}

/** c ← v ÷ length, rounded to float32. */
function narrow(c: usize, v: usize, length: f64, rows: i32): void {
  const end = c + (<usize>rows << 2)
  const length2 = f64x2.splat(length)
  for (; c + 16 <= end; c += 16, v += 32) {
    const a4 = f32x4.demote_f64x2_zero(f64x2.div(v128.load(v), length2))
    const b4 = f32x4.demote_f64x2_zero(f64x2.div(v128.load(v, 16), length2))
    v128.store(c, v128.shuffle<f32>(a4, b4, 0, 1, 4, 5))
  }
  for (; c < end; c += 4, v += 8) store<f32>(c, <f32>(load<f64>(v) / length))
}
