// A method's coding of the parameters without factors: how one end encodes its values, and what
// both ends compute from the two messages. The codings are in methods/, one for each method.
import type { EdgePayload } from './compression.ts'
import type { Noise } from './noise.ts'

/** One end of the edge between nodes `lo` and `hi`, lo < hi. */
export interface EdgeEnd {
  readonly lo: number
  readonly hi: number
  /** true: this node is `hi`; false: it is `lo` */
  readonly isHi: boolean
  readonly noise: Noise
}

/**
 * The coding at one end of an edge, with the state that this end keeps for it.
 *
 * All arrays of values hold the parameters without factors, one after another, unpadded:
 * `layout.rawFloats` floats.
 */
export interface Coding {
  /** 32-bit words in a message */
  readonly words: number
  /** lengths of the columns of floats in a message; some wire types scale each column by itself */
  readonly columns: readonly number[]
  /** hi − lo, as the last exchange found it: the ends move towards each other along it */
  readonly difference: Float32Array
  /** the arrays that a checkpoint holds, as long as `difference`, by name */
  readonly kept: Readonly<Record<string, Float32Array>>
  /**
   * Encodes this node's values into a message.
   *
   * @param step  number of the iteration
   */
  code(x: Float32Array, into: EdgePayload, step: number): void
  /**
   * Checks a message of the other end, whose numbers of words and floats are right.
   *
   * @returns a description of the error, or null
   */
  refuse(sent: EdgePayload): string | null
  /**
   * Applies an exchange to the coding's state and computes `difference`.
   *
   * @param lo, hi  the ends' messages, as decoded from their frames
   * @param isHi  true: this node is `hi`
   * @param x  this node's values as encoded. A sequential method has already moved them by the
   *   edges applied before this one.
   * @returns false if a difference is too large. Both ends find the same. `difference` is then
   *   zero, and the rest of the state is unchanged.
   */
  commit(lo: EdgePayload, hi: EdgePayload, isHi: boolean, x: Float32Array): boolean
  /** Takes the last exchange back: the state is as it was before its `commit`. */
  retract(): void
  /** Returns to the initial state. */
  restart(): void
}

/** Both ends ignore an exchange with a difference this large: parameters might overflow. */
export const MAX_DIFFERENCE = 2 ** 100

/** difference ← hi − lo. If an element is too large, difference ← 0, and returns false. */
export function subtract(difference: Float32Array, hi: Float32Array, lo: Float32Array): boolean {
  for (let i = 0; i < difference.length; i++) {
    const d = Math.fround(hi[i]! - lo[i]!)
    difference[i] = d
    if (Math.abs(d) < MAX_DIFFERENCE) continue
    difference.fill(0)
    return false
  }
  return true
}
