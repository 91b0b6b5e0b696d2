// The matrix view of each parameter, which parameters are compressed at which rank, and their
// offsets in the arenas.
import type { Layout, Parameter, Side } from './backend.ts'
import type { ParameterSpec, Settings, Spec } from './options.ts'
import { aList, flag, integer, knownOptions, number, wrongType } from './validate.ts'

/**
 * Checks the argument `shapes`.
 *
 * @throws TypeError, RangeError  naming the entry that is not valid
 */
export function specsOf(shapes: readonly ParameterSpec[]): Spec[] {
  aList('shapes', shapes, 'shapes')
  const specs = Array.from(shapes, (entry, i) => specOf(entry, `shapes[${i}]`))
  const length = specs.reduce((sum, spec) => sum + spec.length, 0)
  number('shapes', length, 'at most 2^53 elements', (n) => n <= Number.MAX_SAFE_INTEGER)
  return specs
}

function specOf(entry: ParameterSpec, name: string): Spec {
  const { shape, rows, rank, compress } = isShape(entry)
    ? { shape: entry }
    : knownOptions(entry, ['shape', 'rows', 'rank', 'compress'], name, 'an array, or ')
  if (!Array.isArray(shape)) throw wrongType(`${name}.shape`, 'an array of integers', shape)
  for (const size of shape) integer(name, size, 1, 2 ** 32)
  const length: number = shape.reduce((product, size) => product * size, 1)
  if (rows !== undefined) {
    integer(`${name}.rows`, rows, 1, length)
    if (length % rows !== 0) {
      throw new RangeError(`"${name}.rows": expected a divisor of ${length}, got ${rows}`)
    }
  }
  if (rank !== undefined) integer(`${name}.rank`, rank, 1, 65535)
  if (compress !== undefined) flag(`${name}.compress`, compress)
  const matrixRows = rows ?? shape[0] ?? 1
  const cols = length / matrixRows
  return { shape: [...shape], length, rows: matrixRows, cols, rank, compress }
}

function isShape(entry: ParameterSpec): entry is readonly number[] {
  return Array.isArray(entry)
}

/** A method's rule for which parameters it compresses. */
export interface Gate {
  /**
   * Whether vectors, and matrices of one row or column, may be compressed. 'never' (default):
   * neither. 'thin': such matrices, but not vectors. 'any': both. `compress: true` overrides this
   * for one parameter.
   */
  readonly narrow?: 'never' | 'thin' | 'any'
  /** floats sent for a matrix in an average step */
  cost(rows: number, cols: number, rank: number): number
}

/**
 * The rank of each parameter, clipped to min(rows, cols); 0 if it is not compressed, because its
 * `compress` is false or because too little would be saved (`minCompressionRate`).
 *
 * @param wanted  the rank for parameters without one of their own; or the rank of each parameter
 */
export function gatedRanks(
  specs: readonly Spec[],
  { minCompressionRate }: Pick<Settings, 'minCompressionRate'>,
  wanted: number | readonly number[],
  { narrow = 'never', cost }: Gate,
): number[] {
  return specs.map(({ rows, cols, shape, rank, compress }, i) => {
    const requested = typeof wanted === 'number' ? (rank ?? wanted) : wanted[i]!
    const r = Math.min(requested, rows, cols)
    if (compress !== undefined) return compress ? r : 0
    if (shape.length <= 1 && narrow !== 'any') return 0
    if (Math.min(rows, cols) === 1 && narrow === 'never') return 0
    return cost(rows, cols, r) * minCompressionRate < rows * cols ? r : 0
  })
}

/** In a list of ranks and in frames: this parameter is frozen. */
export const FROZEN = 0xffff

/**
 * Makes the table of parameters with their offsets in the arenas.
 *
 * @param ranks  0: raw; or FROZEN
 */
export function layoutOf(specs: readonly Spec[], ranks: readonly number[]): Layout {
  let arenaFloats = 0
  let leftFloats = 0
  let rightFloats = 0
  let rawFloats = 0
  const parameters = specs.map(({ shape, length, rows, cols }, index): Parameter => {
    const frozen = ranks[index] === FROZEN
    const rank = frozen ? 0 : ranks[index]!
    const raw = rank === 0 && !frozen
    const parameter = {
      index,
      shape,
      length,
      rows,
      cols,
      rank,
      frozen,
      offset: arenaFloats,
      left: leftFloats,
      right: rightFloats,
      raw: rawFloats,
    }
    arenaFloats += Math.ceil(length / 4) * 4
    leftFloats += rows * rank
    rightFloats += cols * rank
    rawFloats += raw ? length : 0
    return parameter
  })
  return {
    parameters,
    matrices: parameters.filter(({ rank }) => rank > 0),
    raws: parameters.filter(({ rank, frozen }) => rank === 0 && !frozen),
    arenaFloats,
    denseFloats: specs.reduce((sum, { length }) => sum + length, 0),
    leftFloats,
    rightFloats,
    rawFloats,
  }
}

/** The layout in which all parameters are raw. */
export function rawLayoutOf(specs: readonly Spec[]): Layout {
  return layoutOf(specs, Array<number>(specs.length).fill(0))
}

/** The lengths of the columns of all left factors. On the wire, scales never span two columns. */
export function leftColumns(layout: Layout): number[] {
  return layout.matrices.flatMap(({ rows, rank }) => Array<number>(rank).fill(rows))
}

/** The lengths of the columns of all right factors. */
export function rightColumns(layout: Layout): number[] {
  return layout.matrices.flatMap(({ cols, rank }) => Array<number>(rank).fill(cols))
}

/** The lengths of the raw parameters. */
export function rawLengths(layout: Layout): number[] {
  return layout.raws.map(({ length }) => length)
}

/** The side of the other factor. */
export function otherSide(side: Side): Side {
  return side === 'left' ? 'right' : 'left'
}
