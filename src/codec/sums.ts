// The arithmetic of a mean: sums of value · weight in float64, in the order given.
import { createReader } from './floats.ts'
import type { Frame } from './frame.ts'
import { CHUNK_VALUES, createNear } from './near.ts'

/**
 * What sums begin with: −0, to which adding x gives x, also if x is −0. So the mean of one frame has
 * its bits.
 */
const NOTHING = -0

/**
 * into ← the mean of what is held, if anything, and of the frames' values. Finite values have a finite mean,
 * so what is not finite in them shows in it.
 *
 * @param weight  of all
 * @returns false if a value of the frames is not finite
 */
export function meanOf(
  frames: readonly Frame[],
  weight: number,
  into: Float32Array,
  held?: Float64Array,
): boolean {
  let finite = true
  for (const { sums, from, n } of chunkSums(frames, into.length, held)) {
    if (!divide(into.subarray(from, from + n), sums, n, weight)) finite = false
  }
  return finite
}

/** held ← held + weight · values; if it is empty, held ← weight · values */
export function addValues(held: Float64Array, frame: Frame, empty: boolean): void {
  for (const { sums, from, n } of chunkSums([frame], held.length, empty ? undefined : held)) {
    held.set(sums.subarray(0, n), from)
  }
}

/** Sums of no scalars yet, as many as the frame has. */
export function noScalars({ scalars }: Frame): Float64Array {
  return new Float64Array(scalars.length).fill(NOTHING)
}

/** sums ← sums + weight · scalars */
export function addScalars(sums: Float64Array, { scalars, weight }: Frame): void {
  for (let i = 0; i < scalars.length; i++) sums[i] = sums[i]! + scalars[i]! * weight
}

/**
 * What is held + the frames' values · their weights, n sums after n, each time in the same array: so the sums
 * of a whole model, twice its size, need not be in memory to divide them.
 */
function* chunkSums(
  frames: readonly Frame[],
  count: number,
  held?: Float64Array,
): Generator<{ sums: Float64Array; from: number; n: number }> {
  const readers = frames.map(({ type, values }) => createReader(type, values))
  const most = Math.min(CHUNK_VALUES, count)
  const near = Array.from({ length: 4 }, () => createNear(4 * most))
  const [a, b, c, d] = near.map(({ floats }) => floats)
  const weights = frames.map(({ weight }) => weight)
  const sums = new Float64Array(a!.length)
  for (let from = 0; from < count; from += most) {
    const n = Math.min(most, count - from)
    if (held) sums.set(held.subarray(from, from + n))
    else sums.fill(NOTHING)
    for (let k = 0; k < frames.length; ) {
      // Four to a pass, with one load and store of each sum, or one.
      const some = k + 4 <= frames.length ? 4 : 1
      for (let i = 0; i < some; i++) readers[k + i]!(near[i]!, n)
      if (some === 4) addFour(sums, a!, b!, c!, d!, n, weights, k)
      else addOne(sums, a!, n, weights[k]!)
      k += some
    }
    yield { sums, from, n }
  }
}

/** n sums, and up to three more, ← themselves + floats · weight */
function addOne(sums: Float64Array, floats: Float32Array, n: number, weight: number): void {
  for (let i = 0; i < n; i += 4) {
    sums[i] = sums[i]! + floats[i]! * weight
    sums[i + 1] = sums[i + 1]! + floats[i + 1]! * weight
    sums[i + 2] = sums[i + 2]! + floats[i + 2]! * weight
    sums[i + 3] = sums[i + 3]! + floats[i + 3]! * weight
  }
}

/** `addOne` of four in this order; the weights are those from k on. */
function addFour(
  sums: Float64Array,
  a: Float32Array,
  b: Float32Array,
  c: Float32Array,
  d: Float32Array,
  n: number,
  weights: readonly number[],
  k: number,
): void {
  const wa = weights[k]!
  const wb = weights[k + 1]!
  const wc = weights[k + 2]!
  const wd = weights[k + 3]!
  for (let i = 0; i < n; i++) {
    sums[i] = sums[i]! + a[i]! * wa + b[i]! * wb + c[i]! * wc + d[i]! * wd
  }
}

/** into ← n sums ÷ weight; false if one of them is not finite */
function divide(into: Float32Array, sums: Float64Array, n: number, weight: number): boolean {
  let none = 0
  for (let i = 0; i < n; i++) {
    const sum = sums[i]!
    into[i] = sum / weight
    none += sum * 0
  }
  return none === 0
}
