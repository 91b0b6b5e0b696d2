// The arithmetic of a mean: sums of value · weight in float64, in the order given.
import { createReader, type Reader } from './floats.ts'
import type { Frame } from './frame.ts'
import { CHUNK_VALUES, createNear } from './near.ts'

/**
 * What sums begin with: −0, to which adding x gives x, also if x is −0. So the mean of one frame has
 * its bits.
 */
export const NOTHING = -0

/** The frames' values, weighted and added up: a chunk at a time, in a cache. */
interface Adder {
  readonly sums: Float64Array
  /** the first n of sums ← themselves + the next n values of each frame · its weight */
  add(n: number): void
}

/**
 * into ← the mean of summed frames, with the same bits as `addValues` of one after another, then `divide`.
 * Finite values have a finite mean, so what is not finite in them shows in it.
 *
 * @returns false if a value of the frames is not finite
 */
export function meanOf(frames: readonly Frame[], weight: number, into: Float32Array): boolean {
  const { sums, add } = createAdder(frames)
  let finite = true
  for (let from = 0; from < into.length; from += CHUNK_VALUES) {
    const chunk = into.subarray(from, from + CHUNK_VALUES)
    sums.fill(NOTHING)
    add(chunk.length)
    if (!quotients(chunk, sums, chunk.length, weight)) finite = false
  }
  return finite
}

/** held ← held + weight · values; if it is the first frame, held ← weight · values */
export function addValues(held: Float64Array, frame: Frame, first: boolean): void {
  const { sums, add } = createAdder([frame])
  for (let from = 0; from < held.length; from += CHUNK_VALUES) {
    const chunk = held.subarray(from, from + CHUNK_VALUES)
    if (first) sums.fill(NOTHING)
    else sums.set(chunk)
    add(chunk.length)
    held.set(sums.subarray(0, chunk.length), from)
  }
}

/** sums ← sums + weight · scalars */
export function addScalars(sums: Float64Array, { scalars, weight }: Frame): void {
  for (let i = 0; i < scalars.length; i++) sums[i] = sums[i]! + scalars[i]! * weight
}

/** into ← held ÷ weight, as float32 */
export function divide(into: Float32Array, held: Float64Array, weight: number): void {
  const sums = new Float64Array(Math.min(CHUNK_VALUES, held.length))
  for (let from = 0; from < into.length; from += CHUNK_VALUES) {
    const chunk = into.subarray(from, from + CHUNK_VALUES)
    sums.set(held.subarray(from, from + CHUNK_VALUES))
    quotients(chunk, sums, chunk.length, weight)
  }
}

function createAdder(frames: readonly Frame[]): Adder {
  const most = Math.min(CHUNK_VALUES, frames[0]!.count)
  const sums = new Float64Array(most)
  const readers = frames.map(({ type, values }): Reader => createReader(type, values))
  const near = frames.slice(0, 4).map(() => createNear(4 * most))
  const [a, b, c, d] = near.map(({ floats }) => floats)
  const weights = frames.map(({ weight }) => weight)
  return {
    sums,
    add(n) {
      for (let k = 0; k < frames.length; ) {
        // Four to a pass, with one load and store of each sum; otherwise one.
        const some = k + 4 <= frames.length ? 4 : 1
        for (let i = 0; i < some; i++) readers[k + i]!(near[i]!, n)
        if (some === 4) addFour(sums, n, a!, b!, c!, d!, weights.slice(k, k + 4))
        else addOne(sums, n, a!, weights[k]!)
        k += some
      }
    },
  }
}

function addOne(sums: Float64Array, n: number, floats: Float32Array, weight: number): void {
  for (let i = 0; i < n; i++) sums[i] = sums[i]! + floats[i]! * weight
}

function addFour(
  sums: Float64Array,
  n: number,
  a: Float32Array,
  b: Float32Array,
  c: Float32Array,
  d: Float32Array,
  weights: readonly number[],
): void {
  const [wa, wb] = [weights[0]!, weights[1]!]
  const [wc, wd] = [weights[2]!, weights[3]!]
  for (let i = 0; i < n; i++) {
    sums[i] = sums[i]! + a[i]! * wa + b[i]! * wb + c[i]! * wc + d[i]! * wd
  }
}

/** into ← sums ÷ weight; false if one of the sums is not finite */
function quotients(into: Float32Array, sums: Float64Array, n: number, weight: number): boolean {
  let none = 0
  for (let i = 0; i < n; i++) {
    into[i] = sums[i]! / weight
    none += sums[i]! * 0
  }
  return none === 0
}
