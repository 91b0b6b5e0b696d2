// What one worker puts into a round of factors: L·Rᵀ for each matrix, with as many columns as it has.
//
//   words   of each matrix: the number of columns, or WHOLE
//   floats  of each parameter, in order: R then L, column after column; raw ones and WHOLE as they are

import type { Layout, Parameter } from '../../backend.ts'
import type { Columns, Part } from '../../codec/gathered.ts'
import type { Round } from '../../options.ts'
import { areBounded } from './products.ts'

/** In place of a number of columns: the matrix itself, by row. */
const WHOLE = 0xffffffff

/** Of one parameter: itself, or left · rightᵀ, with left rows × count and right cols × count by column. */
export type FactorShare =
  | { readonly whole: Float32Array }
  | { readonly left: Float32Array; readonly right: Float32Array }

/** The most that one worker sends. @param most  columns, by parameter */
export function roundOf(layout: Layout, most: readonly number[]): Round {
  const columns = layout.parameters.flatMap((parameter, i) =>
    parameter.rank === 0 ? [parameter.length] : columnsOf(parameter, most[i]!),
  )
  return { kind: 'gathered', words: layout.matrices.length, columns }
}

/** @param shares  one per parameter; raw ones whole */
export function packShares(
  layout: Layout,
  shares: readonly FactorShare[],
): Columns & { words: Uint32Array } {
  const counts = layout.parameters.map((parameter, i) => countOf(shares[i]!, parameter))
  const columns = layout.parameters.flatMap((parameter, i) => columnsOf(parameter, counts[i]!))
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
  const words = Uint32Array.from(layout.matrices, ({ index }) => counts[index]!)
  return { words, floats, columns }
}

/** One share per parameter: views of a part that `refuse` has let pass. */
export function unpackShares(layout: Layout, { words, floats }: Part): FactorShare[] {
  let at = 0
  let matrix = 0
  const next = (count: number) => {
    at += count
    return floats.subarray(at - count, at)
  }
  return layout.parameters.map(({ rank, rows, cols, length }): FactorShare => {
    const count = rank === 0 ? WHOLE : words[matrix++]!
    if (count === WHOLE) return { whole: next(length) }
    const right = next(count * cols)
    return { right, left: next(count * rows) }
  })
}

/** @param most  columns that a part may have, by parameter */
export function refuseShares(layout: Layout, part: Part, most: readonly number[]): string | null {
  const { words, floats } = part
  if (words.length !== layout.matrices.length) {
    return `expected ${layout.matrices.length} words, got ${words.length}`
  }
  let expected = layout.rawFloats
  for (const [i, parameter] of layout.matrices.entries()) {
    const count = words[i]!
    if (count !== WHOLE && count > most[parameter.index]!) {
      const { index } = parameter
      return `parameter ${index}: expected at most ${most[index]} columns, got ${count}`
    }
    expected += columnsOf(parameter, count).reduce((a, b) => a + b, 0)
  }
  if (floats.length !== expected) return `expected ${expected} floats, got ${floats.length}`
  const large = unpackShares(layout, part).findIndex((share) => !isBounded(share))
  return large < 0 ? null : `parameter ${large}: its numbers are so large that products overflow`
}

function isBounded(share: FactorShare): boolean {
  return 'whole' in share ? areBounded(share.whole) : areBounded(share.right, share.left)
}

function countOf(share: FactorShare, { rank, cols }: Parameter): number {
  if (rank === 0 || 'whole' in share) return WHOLE
  return share.right.length / cols
}

/** Lengths of what may share a scale on the wire. */
function columnsOf({ rank, rows, cols, length }: Parameter, count: number): number[] {
  if (rank === 0 || count === WHOLE) return [length]
  return [...Array<number>(count).fill(cols), ...Array<number>(count).fill(rows)]
}
