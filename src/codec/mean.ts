// The arithmetic of a mean: sums of value · weight in float64, in the order given.
import { CHUNK_VALUES } from './chunks.ts'
import type { Frame } from './frame.ts'
import { wireType } from './wire/index.ts'
import type { Accumulator } from './wire/wire-type.ts'

/** Sums begin with −0: adding x to it gives x, also if x is −0. So the mean of one frame has its bits. */
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
  const accumulators = accumulatorsOf(frames)
  const most = Math.min(CHUNK_VALUES, count)
  const sums = new Float64Array(Math.ceil(most / 4) * 4)
  for (let from = 0; from < count; from += most) {
    const n = Math.min(most, count - from)
    if (held) sums.set(held.subarray(from, from + n))
    else sums.fill(NOTHING)
    for (const accumulate of accumulators) accumulate(sums, n)
    yield { sums, from, n }
  }
}

/** For these frames, in their order: four neighbours of one type share a load and store of each sum. */
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
