// Where a session keeps M and the factors of each parameter in wasm memory.
import type { Layout, Parameter } from '../../backend.ts'

/** A parameter and its places in the arenas of M, P and Q, in floats. */
export interface Place extends Parameter {
  readonly m: number
  readonly p: number
  readonly q: number
  /** from row to row of M, and from column to column of Q: cols, or a little more */
  readonly wide: number
  /** from column to column of P: rows, or a little more */
  readonly tall: number
}

/** Numbers that lie side by side in memory. */
export interface Stretch {
  /** the first, in floats from the arena's */
  readonly at: number
  readonly count: number
}

/** The places of all parameters, and how many floats each arena has. */
export interface Places {
  readonly all: readonly Place[]
  readonly m: number
  readonly p: number
  readonly q: number
}

/**
 * Gives each parameter its places. That in M does not depend on the ranks.
 *
 * Rows that lie a multiple of 2 KiB apart share few sets of the first cache, and drive one another
 * out of it. So between such rows, and such columns of factors, there are zeros that fill one line
 * of the cache.
 */
export function placesOf({ parameters }: Layout): Places {
  let [m, p, q] = [0, 0, 0]
  const all = parameters.map((parameter): Place => {
    const { rows, cols, rank } = parameter
    const wide = rows > 1 ? apart(cols) : cols
    const tall = cols > 1 ? apart(rows) : rows
    const place = { ...parameter, m, p, q, wide, tall }
    m += Math.ceil((rows * wide) / 4) * 4
    p += tall * rank
    q += wide * rank
    return place
  })
  return { all, m, p, q }
}

/** Floats in 2 KiB. */
const SHARED = 512
/** Floats in a line of the cache. */
const LINE = 16
/** Longer rows stay as they are, for tiles must hold four of them. */
const LONGEST = 1 << 16

function apart(n: number): number {
  return n % SHARED === 0 && n <= LONGEST ? n + LINE : n
}

/** The `count` rows or columns of `length` floats that begin at `at`, `stride` floats apart. */
export function stretches(at: number, count: number, length: number, stride: number): Stretch[] {
  if (stride === length) return [{ at, count: count * length }]
  return Array.from({ length: count }, (_, i) => ({ at: at + i * stride, count: length }))
}
