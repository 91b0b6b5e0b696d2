// How what has no factors travels over an edge, and what both ends make of it: one of these for each
// method, in methods/.
import type { EdgePayload } from './compression.ts'
import type { Noise } from './noise.ts'

/** An end of the edge between lo and hi, lo < hi. */
export interface EdgeEnd {
  readonly lo: number
  readonly hi: number
  /** true: this end is hi */
  readonly own: boolean
  readonly noise: Noise
}

/** One end's part of an edge's coding; it has a state of its own. */
export interface Coding {
  /** how many words travel, and the lengths of the columns of floats */
  readonly words: number
  readonly columns: readonly number[]
  /** what the ends are to move towards each other by, of the last exchange: in order, unpadded */
  readonly difference: Float32Array
  /** what a state has of it: arrays like `difference`, by name */
  readonly kept: Readonly<Record<string, Float32Array>>
  /**
   * Writes what is to be sent of these values.
   *
   * @param step  number of the iteration
   */
  code(x: Float32Array, into: EdgePayload, step: number): void
  /** What is wrong with what the other end sent, of as many words and floats as there must be. */
  refuse(sent: EdgePayload): string | null
  /**
   * Takes over an exchange.
   *
   * @param lo, hi  what the ends sent, as decoded
   * @param own  true: this end is hi
   * @param x  this node's values as coded, and, where edges are applied one after another, moved by those before
   * @returns false if a difference is too large, as on the other end: there is none to move by, and else nothing
   *   has changed
   */
  commit(lo: EdgePayload, hi: EdgePayload, own: boolean, x: Float32Array): boolean
  /** Takes the last exchange back. */
  retract(): void
  /** Begins anew. */
  restart(): void
}

/** Differences so large are left alone, by both ends: with them parameters might overflow. */
const LIMIT = 2 ** 100

/** difference ← hi − lo; zeros, and false, if one is too large */
export function subtract(difference: Float32Array, hi: Float32Array, lo: Float32Array): boolean {
  for (let i = 0; i < difference.length; i++) {
    const d = Math.fround(hi[i]! - lo[i]!)
    difference[i] = d
    if (Math.abs(d) < LIMIT) continue
    difference.fill(0)
    return false
  }
  return true
}
