// Which tensors are compressed, the matrix that each becomes, and where its numbers lie.
import type { Layout, Parameter, Side } from './backend.ts'
import type { ParameterSpec, Settings, Spec } from './options.ts'
import { integer, show } from './validate.ts'

/** @throws RangeError, TypeError  naming the entry at fault */
export function specsOf(shapes: readonly ParameterSpec[]): Spec[] {
  if (!Array.isArray(shapes)) {
    throw new TypeError(`"shapes": expected an array of shapes, got ${show(shapes)}`)
  }
  if (shapes.length === 0) throw new RangeError('"shapes": expected at least one, got none')
  return shapes.map((entry, i) => specOf(entry, `shapes[${i}]`))
}

function specOf(entry: ParameterSpec, name: string): Spec {
  if (typeof entry !== 'object' || entry === null) {
    throw new TypeError(`"${name}": expected a shape or { shape, … }, got ${show(entry)}`)
  }
  const { shape, rows, rank, compress } = isShape(entry) ? { shape: entry } : entry
  if (!Array.isArray(shape)) {
    throw new TypeError(`"${name}.shape": expected an array of integers, got ${show(shape)}`)
  }
  for (const size of shape) integer(name, size, 1, 2 ** 32)
  const length = total(shape, (a, b) => a * b, 1)
  if (rows !== undefined) {
    integer(`${name}.rows`, rows, 1, length)
    if (length % rows !== 0) {
      throw new RangeError(`"${name}.rows": expected a divisor of ${length}, got ${rows}`)
    }
  }
  if (rank !== undefined) integer(`${name}.rank`, rank, 1, 65535)
  if (compress !== undefined && typeof compress !== 'boolean') {
    throw new TypeError(`"${name}.compress": expected true or false, got ${show(compress)}`)
  }
  const n = rows ?? shape[0] ?? 1
  return { shape: [...shape], length, rows: n, cols: length / n, rank, compress }
}

function isShape(entry: ParameterSpec): entry is readonly number[] {
  return Array.isArray(entry)
}

/** Which parameters a method compresses. */
export interface Gate {
  /**
   * Vectors, and matrices of one row or column: whether they can pay at all. 'never' (default), 'thin':
   * not vectors, 'any'. `compress: true` asks for them one by one.
   */
  readonly narrow?: 'never' | 'thin' | 'any'
  /** floats that a matrix takes in a step, on the average */
  cost(rows: number, cols: number, rank: number): number
}

/**
 * The rank of each parameter, clipped to its matrix; 0 where it stays raw: what is told to, and what
 * would not pay.
 *
 * @param wanted  for all, or one per parameter
 */
export function gatedRanks(
  specs: readonly Spec[],
  { minCompressionRate }: Pick<Settings, 'minCompressionRate'>,
  wanted: number | readonly number[],
  { narrow = 'never', cost }: Gate,
): number[] {
  return specs.map(({ rows, cols, shape, rank, compress }, i) => {
    const asked = typeof wanted === 'number' ? (rank ?? wanted) : wanted[i]!
    const r = Math.min(asked, rows, cols)
    if (compress !== undefined) return compress ? r : 0
    if (shape.length <= 1 && narrow !== 'any') return 0
    if (Math.min(rows, cols) === 1 && narrow === 'never') return 0
    return cost(rows, cols, r) * minCompressionRate < rows * cols ? r : 0
  })
}

/** Lays the parameters out in the arenas. */
export function layoutOf(specs: readonly Spec[], ranks: readonly number[]): Layout {
  let arenaFloats = 0
  let leftFloats = 0
  let rightFloats = 0
  let rawFloats = 0
  const parameters = specs.map(({ shape, length, rows, cols }, index): Parameter => {
    const rank = ranks[index]!
    const parameter = {
      index,
      shape,
      length,
      rows,
      cols,
      rank,
      offset: arenaFloats,
      left: leftFloats,
      right: rightFloats,
      raw: rawFloats,
    }
    arenaFloats += Math.ceil(length / 4) * 4
    leftFloats += rows * rank
    rightFloats += cols * rank
    rawFloats += rank === 0 ? length : 0
    return parameter
  })
  return {
    parameters,
    matrices: parameters.filter(({ rank }) => rank > 0),
    raws: parameters.filter(({ rank }) => rank === 0),
    arenaFloats,
    denseFloats: total(specs.map(({ length }) => length)),
    leftFloats,
    rightFloats,
    rawFloats,
  }
}

/** The same with all of them raw. */
export function rawLayoutOf(specs: readonly Spec[]): Layout {
  return layoutOf(specs, Array<number>(specs.length).fill(0))
}

/** Lengths of the columns of all left factors: what must share a scale when quantised. */
export function leftColumns(layout: Layout): number[] {
  return layout.matrices.flatMap(({ rows, rank }) => Array<number>(rank).fill(rows))
}

/** The same for the right factors. */
export function rightColumns(layout: Layout): number[] {
  return layout.matrices.flatMap(({ cols, rank }) => Array<number>(rank).fill(cols))
}

/** Lengths of the raw tensors. */
export function rawLengths(layout: Layout): number[] {
  return layout.raws.map(({ length }) => length)
}

/** The side that this one is multiplied by. */
export function otherSide(side: Side): Side {
  return side === 'left' ? 'right' : 'left'
}

function total(
  values: readonly number[],
  add: (a: number, b: number) => number = (a, b) => a + b,
  first = 0,
): number {
  return values.reduce(add, first)
}
