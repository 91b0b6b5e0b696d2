// The arithmetic of a mean: sums of weight · value in float64, in the order of the frames.

import type { Frame } from './frame.ts'
import { CHUNK_VALUES, room } from './loops.ts'
import { wireType } from './wire/index.ts'

/** The start of a sum. −0 + x is x even if x is −0, so that the mean of one frame has its bits. */
const ZERO = -0

/**
 * into ← (totals + Σ weight · values of the frames) ÷ weight.
 *
 * Finite values have a finite mean, so a value that is not finite shows in the mean.
 *
 * @param weight  the sum of the weights in `totals` and of the frames
 * @param totals  sums so far, as many as `into` is long; default: none
 * @returns false if a value is not finite
 */
export function meanOf(
  frames: readonly Frame[],
  weight: number,
  into: Float32Array,
  totals?: Float64Array,
): boolean {
  let finite = true
  for (const { from, n } of chunkSums(frames, into.length, totals)) {
    if (!divide(into.subarray(from, from + n), weight)) finite = false
  }
  return finite
}

/** totals ← totals + weight · values of the frame; or, if `empty`, totals ← weight · values. */
export function addValues(totals: Float64Array, frame: Frame, empty: boolean): void {
  for (const { sums, from, n } of chunkSums([frame], totals.length, empty ? undefined : totals)) {
    totals.set(sums.subarray(0, n), from)
  }
}

/** Sums for the scalars of such a frame, with nothing added yet. */
export function noScalars({ scalars }: Frame): Float64Array {
  return new Float64Array(scalars.length).fill(ZERO)
}

/** sums ← sums + weight · scalars of the frame. */
export function addScalars(sums: Float64Array, { scalars, weight }: Frame): void {
  for (let i = 0; i < scalars.length; i++) sums[i] = sums[i]! + scalars[i]! * weight
}

/**
 * Computes totals + Σ weight · values of the frames, n sums at a time, always in the same array. So
 * the sums of a whole model, twice its size, need not be in memory at once.
 *
 * @param count  the number of all sums
 * @returns chunks of n sums, the first ones in `sums`, that begin at sum `from`
 */
function* chunkSums(
  frames: readonly Frame[],
  count: number,
  totals?: Float64Array,
): Generator<{ sums: Float64Array; from: number; n: number }> {
  const { sums } = room()
  const accumulators = frames.map(({ type, values, weight }) =>
    wireType(type).accumulate(values, weight),
  )
  for (let from = 0; from < count; from += CHUNK_VALUES) {
    const n = Math.min(CHUNK_VALUES, count - from)
    if (totals) sums.set(totals.subarray(from, from + n))
    else sums.fill(ZERO, 0, n)
    for (const accumulate of accumulators) accumulate(n)
    yield { sums, from, n }
  }
}

/** into ← the sums ÷ weight. @returns false if one of the sums is not finite */
function divide(into: Float32Array, weight: number): boolean {
  const { loops, sums, y } = room()
  const n = into.length
  if (loops) {
    sums[n] = 0 // its pair, if n is odd
    const finite = loops.divide(y.at, sums.byteOffset, n, weight)
    into.set(y.floats.subarray(0, n))
    return finite === 1
  }
  let nan = 0 // becomes NaN, for ∞ · 0 is NaN
  for (let i = 0; i < n; i++) {
    into[i] = sums[i]! / weight
    nan += sums[i]! * 0
  }
  return nan === 0
}
