// The arithmetic of a mean: sums of weight · value in float64, in the order of the frames.
import { CHUNK_VALUES } from './chunks.ts'
import type { Frame } from './frame.ts'
import { wireType } from './wire/index.ts'
import type { Accumulator } from './wire/wire-type.ts'

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
  for (const { sums, from, n } of chunkSums(frames, into.length, totals)) {
    if (!divide(into.subarray(from, from + n), sums, n, weight)) finite = false
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
 * @returns chunks of n sums that begin at sum `from`. The array may be longer than n
 */
function* chunkSums(
  frames: readonly Frame[],
  count: number,
  totals?: Float64Array,
): Generator<{ sums: Float64Array; from: number; n: number }> {
  const accumulators = accumulatorsOf(frames)
  const most = Math.min(CHUNK_VALUES, count)
  const sums = new Float64Array(Math.ceil(most / 4) * 4)
  for (let from = 0; from < count; from += most) {
    const n = Math.min(most, count - from)
    if (totals) sums.set(totals.subarray(from, from + n))
    else sums.fill(ZERO)
    for (const accumulate of accumulators) accumulate(sums, n)
    yield { sums, from, n }
  }
}

/**
 * Accumulators for the frames in their order. Four in a row of one type share each sum's load and
 * store.
 */
function accumulatorsOf(frames: readonly Frame[]): Accumulator[] {
  const found: Accumulator[] = []
  for (let k = 0; k < frames.length; ) {
    const { type } = frames[k]!
    const four = frames.slice(k, k + 4).filter((frame) => frame.type === type)
    const summands = four.length === 4 ? four : [frames[k]!]
    found.push(wireType(type).accumulate(summands))
    k += summands.length
  }
  return found
}

/** into ← n sums ÷ weight. @returns false if one of the sums is not finite */
function divide(into: Float32Array, sums: Float64Array, n: number, weight: number): boolean {
  let nan = 0 // becomes NaN, for ∞ · 0 is NaN
  for (let i = 0; i < n; i++) {
    const sum = sums[i]!
    into[i] = sum / weight
    nan += sum * 0
  }
  return nan === 0
}
