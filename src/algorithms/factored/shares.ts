// One worker's part of a gathered round of factors: L·Rᵀ for each matrix, with as many columns as
// the worker has.
//
//   words   for each matrix: the number of columns, or WHOLE
//   floats  for each parameter, in order: R, then L, both by column; raw parameters and WHOLE ones
//           as they are, by row

import type { Layout, Parameter } from '../../backend.ts'
import type { Columns, Part } from '../../codec/gathered.ts'
import { unfrozen } from '../../layout.ts'
import type { Gate, Round } from '../../options.ts'
import { areBounded } from './products.ts'

/** In place of a number of columns: the floats are the matrix itself, by row. */
const WHOLE = 0xffffffff

/**
 * One worker's share of one parameter: the gradient itself, by row, or left · rightᵀ, with left
 * rows × count and right cols × count, both by column.
 */
export type FactorShare =
  | { readonly whole: Float32Array }
  | { readonly left: Float32Array; readonly right: Float32Array }

/** A matrix is worth factors that have fewer floats, by `minCompressionRate`. */
export const FACTORS_GATE: Gate = { cost: (rows, cols, rank) => rank * (rows + cols) }

/**
 * The largest round that one worker sends.
 *
 * @param maxColumns  the maximum number of columns of each parameter
 */
export function roundOf(layout: Layout, maxColumns: readonly number[]): Round {
  const columns = unfrozen(layout).flatMap((parameter) =>
    parameter.rank === 0 ? [parameter.length] : columnsOf(parameter, maxColumns[parameter.index]!),
  )
  return { kind: 'gathered', words: layout.matrices.length, columns }
}

/**
 * Packs shares into words and floats.
 *
 * @param shares  one for each unfrozen parameter; raw ones must be whole
 * @returns also the lengths of the columns of the floats, each of which may have its own scale on
 *   the wire
 */
export function packShares(
  layout: Layout,
  shares: readonly FactorShare[],
): Columns & { words: Uint32Array } {
  const parameters = unfrozen(layout)
  const counts = parameters.map((parameter, i) => countOf(shares[i]!, parameter))
  const columns = parameters.flatMap((parameter, i) => columnsOf(parameter, counts[i]!))
  const floats = new Float32Array(columns.reduce((a, b) => a + b, 0))
  let at = 0
  const put = (values: Float32Array) => {
    floats.set(values, at)
    at += values.length
  }
  for (const share of shares) {
    if ('whole' in share) put(share.whole)
    else {
      put(share.right)
      put(share.left)
    }
  }
  const words = Uint32Array.from(counts.filter((_, i) => parameters[i]!.rank > 0))
  return { words, floats, columns }
}

/**
 * Unpacks a part that `refuseShares` has accepted: one share for each unfrozen parameter, as views
 * of its floats.
 */
export function unpackShares(layout: Layout, { words, floats }: Part): FactorShare[] {
  let at = 0
  let matrix = 0
  const next = (count: number) => {
    at += count
    return floats.subarray(at - count, at)
  }
  return unfrozen(layout).map(({ rank, rows, cols, length }): FactorShare => {
    const count = rank === 0 ? WHOLE : words[matrix++]!
    if (count === WHOLE) return { whole: next(length) }
    const right = next(count * cols)
    return { right, left: next(count * rows) }
  })
}

/**
 * Whether a part has a share for each parameter, with no more columns than allowed, and numbers so
 * small that no product overflows.
 *
 * @param maxColumns  the maximum number of columns of each parameter
 */
export function areShares(layout: Layout, part: Part, maxColumns: readonly number[]): boolean {
  const { words, floats } = part
  if (words.length !== layout.matrices.length) return false
  let expected = layout.rawFloats
  for (const [i, { index, rows, cols, length }] of layout.matrices.entries()) {
    const count = words[i]!
    if (count !== WHOLE && count > maxColumns[index]!) return false
    expected += count === WHOLE ? length : count * (rows + cols)
  }
  return floats.length === expected && unpackShares(layout, part).every(isBounded)
}

function isBounded(share: FactorShare): boolean {
  return 'whole' in share ? areBounded(share.whole) : areBounded(share.right, share.left)
}

function countOf(share: FactorShare, { rank, cols }: Parameter): number {
  if (rank === 0 || 'whole' in share) return WHOLE
  return share.right.length / cols
}

/** Lengths of the columns of one parameter: values that may share a scale on the wire. */
function columnsOf({ rank, rows, cols, length }: Parameter, count: number): number[] {
  if (rank === 0 || count === WHOLE) return [length]
  return [...Array<number>(count).fill(cols), ...Array<number>(count).fill(rows)]
}
