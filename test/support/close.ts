import * as assert from 'uvu/assert'

/** float32's unit roundoff */
export const UNIT = 2 ** -24

/**
 * γₙ = n·u ÷ (1 − n·u): n roundings in any order err by at most this part of Σ|x||y| (Higham,
 * "Accuracy and Stability of Numerical Algorithms", 2002, §3.1).
 */
export function gamma(n: number): number {
  return (n * UNIT) / (1 - n * UNIT)
}

/** Fails at the first element that is further from the wanted one than the bound for it. */
export function within(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  bound: (i: number) => number,
): void {
  assert.is(got.length, want.length, 'length')
  for (let i = 0; i < want.length; i++) {
    // Written so that NaN fails.
    if (!(Math.abs(got[i]! - want[i]!) <= bound(i))) {
      assert.unreachable(`element ${i}: got ${got[i]}, want ${want[i]} ± ${bound(i)}`)
    }
  }
}

/** Fails at the first element whose bits are not the wanted ones. */
export function same(got: ArrayLike<number>, want: ArrayLike<number>): void {
  assert.is(got.length, want.length, 'length')
  for (let i = 0; i < want.length; i++) {
    if (!Object.is(got[i], want[i])) {
      assert.unreachable(`element ${i}: got ${got[i]}, want exactly ${want[i]}`)
    }
  }
}
