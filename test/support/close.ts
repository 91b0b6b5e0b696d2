import * as assert from 'uvu/assert'

/** Half the distance from 1 to the next float32: the largest relative error of one rounding. */
export const UNIT = 2 ** -24

/** The largest error of a rounding in the range of float32's subnormals. */
export const SMALLEST = 2 ** -149

/**
 * γₙ = n·u ÷ (1 − n·u): n roundings in any order err by at most this part of Σ|x||y| (Higham,
 * "Accuracy and Stability of Numerical Algorithms", 2002, §3.1).
 */
export function gamma(n: number): number {
  return (n * UNIT) / (1 - n * UNIT)
}

/** Fails with the first index at which |got − want| exceeds its bound (or is no number). */
export function within(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  bound: (i: number) => number,
  what = 'element',
): void {
  if (got.length !== want.length) assert.unreachable(`${what}: ${got.length} ≠ ${want.length}`)
  for (let i = 0; i < got.length; i++) {
    if (Math.abs(got[i]! - want[i]!) <= bound(i)) continue
    assert.unreachable(`${what}: [${i}]: got ${got[i]}, expected ${want[i]} ± ${bound(i)}`)
  }
}

/** Fails at the first element whose bits differ from the wanted ones. */
export function same(got: ArrayLike<number>, want: ArrayLike<number>): void {
  assert.is(got.length, want.length, 'length')
  for (let i = 0; i < want.length; i++) {
    if (!Object.is(got[i], want[i])) {
      assert.unreachable(`element ${i}: got ${got[i]}, want exactly ${want[i]}`)
    }
  }
}

/** Fails with the first index at which two arrays differ in bits. */
export function sameFloats(got: Float32Array, want: Float32Array, what: string): void {
  const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length)
  const [a, b] = [bits(got), bits(want)]
  const at = a.findIndex((word, i) => word !== b[i])
  if (got.length !== want.length) assert.unreachable(`${what}: ${got.length} ≠ ${want.length}`)
  if (at >= 0) assert.unreachable(`${what}: [${at}]: got ${got[at]}, expected ${want[at]}`)
}

/** Fails with the first index at which two arrays of bytes differ. */
export function sameBytes(got: Uint8Array, want: Uint8Array, what: string): void {
  const at = got.findIndex((byte, i) => byte !== want[i])
  if (got.length !== want.length)
    assert.unreachable(`${what}: ${got.length} ≠ ${want.length} bytes`)
  if (at >= 0) assert.unreachable(`${what}: byte ${at}: got ${got[at]}, expected ${want[at]}`)
}
