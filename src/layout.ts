// The matrix view of each parameter, which parameters are compressed at which rank, and their
// offsets in the arenas.
import type { Layout, Parameter, Side } from './backend.ts'
import { type Gate, MOST_RANK, type ParameterSpec, type Settings, type Spec } from './options.ts'
import {
  aList,
  flag,
  integer,
  knownOptions,
  labelOf,
  number,
  wrongType,
  wrongValue,
} from './validate.ts'

/** In a list of ranks and in frames: this parameter is frozen. */
export const FROZEN = 0xffff

/**
 * Checks the argument `shapes`.
 *
 * @param firstAxis  see `Method.firstAxis`
 * @throws TypeError, RangeError  naming the entry that is not valid
 */
export function specsOf(shapes: readonly ParameterSpec[], firstAxis = false): Spec[] {
  aList('shapes', shapes, 'shapes')
  const specs = Array.from(shapes, (entry, i) => specOf(entry, `shapes[${i}]`, firstAxis))
  const length = specs.reduce((sum, spec) => sum + spec.length, 0)
  number('shapes', length, 'at most 2^53 elements', (n) => n <= Number.MAX_SAFE_INTEGER)
  const named = new Map<string, number>()
  for (const [i, { name }] of specs.entries()) {
    if (name === undefined) continue
    if (named.has(name)) {
      throw wrongValue(`shapes[${i}].name`, `another than that of shapes[${named.get(name)}]`, name)
    }
    named.set(name, i)
  }
  return specs
}

function specOf(entry: ParameterSpec, at: string, firstAxis: boolean): Spec {
  const { shape, name, rows, rank, compress } = isShape(entry)
    ? { shape: entry }
    : knownOptions(entry, ['shape', 'name', 'rows', 'rank', 'compress'], at, 'an array, or ')
  if (name !== undefined) {
    if (typeof name !== 'string') throw wrongType(`${at}.name`, 'a string', name)
    integer(`${at}.name.length`, name.length, 1, 255)
  }
  const entryName = labelOf(at, name)
  if (!Array.isArray(shape)) throw wrongType(`${entryName}.shape`, 'an array of integers', shape)
  for (const size of shape) integer(entryName, size, 1, 2 ** 32)
  let length = 1
  const products: number[] = shape.map((size) => {
    length *= size
    return length
  })
  if (rows !== undefined) checkRows(`${entryName}.rows`, rows, products, length)
  if (rank !== undefined && rank !== 'frozen') integer(`${entryName}.rank`, rank, 1, MOST_RANK)
  if (compress !== undefined) flag(`${entryName}.compress`, compress)
  const matrixRows = rows ?? rowsOf(products, length, firstAxis)
  return {
    name,
    shape: [...shape],
    length,
    rows: matrixRows,
    cols: length / matrixRows,
    rank: rank === 'frozen' ? undefined : rank,
    frozen: rank === 'frozen',
    compress,
  }
}

/**
 * Rows of the matrix view: the first axis; or, if that at least halves rows + cols, as many leading
 * axes as make it smallest. So a kernel of [height, width, in, out] has out columns, and a stack of
 * matrices becomes one that is as wide as they are.
 *
 * @param products  of the first axes: of one of them, of two, …
 */
function rowsOf(products: readonly number[], length: number, firstAxis: boolean): number {
  const [first = 1] = products
  const around = (rows: number) => rows + length / rows
  let best = first
  for (const rows of products.slice(1, -1)) if (around(rows) < around(best)) best = rows
  return !firstAxis && 2 * around(best) <= around(first) ? best : first
}

/**
 * Rows must begin where an axis does: others would mix numbers that have nothing in common. A
 * vector has no such places, and may be laid out in any rows.
 */
function checkRows(name: string, rows: number, products: readonly number[], length: number): void {
  integer(name, rows, 1, length)
  const places = [1, ...products]
  if (products.length > 1 ? places.includes(rows) : length % rows === 0) return
  const expected = `a product of leading axes (${places.join(', ')})`
  throw wrongValue(name, products.length > 1 ? expected : `a divisor of ${length}`, rows)
}

/** Shapes, matrix views and names, to be hashed. Hashes without names are as they were before. */
export function hashedShapes(specs: readonly Spec[]): (number | string)[][] {
  return specs.map(({ shape, rows, name }) => [
    rows,
    ...shape,
    ...(name === undefined ? [] : [name]),
  ])
}

function isShape(entry: ParameterSpec): entry is readonly number[] {
  return Array.isArray(entry)
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
    return cost(rows, cols, r, shape) * minCompressionRate < rows * cols ? r : 0
  })
}

/**
 * The rank of each parameter: the method's, or FROZEN.
 *
 * @param wanted  a rank for parameters without one of their own; or one for each, as in the result
 */
export function decideRanks(
  specs: readonly Spec[],
  settings: Settings,
  wanted: number | readonly number[],
): number[] {
  const ranks = settings.method.ranks(specs, settings, wanted)
  return specs.map(({ frozen }, i) => {
    const stays = typeof wanted === 'number' ? frozen : wanted[i] === FROZEN
    return stays ? FROZEN : ranks[i]!
  })
}

/** The ranks that `layoutOf` made the layout of. */
export function ranksIn({ parameters }: Layout): number[] {
  return parameters.map(({ rank, frozen }) => (frozen ? FROZEN : rank))
}

/** The parameters that travel, as matrices or raw. */
export function unfrozen({ parameters }: Layout): Parameter[] {
  return parameters.filter(({ frozen }) => !frozen)
}

/**
 * Makes the table of parameters with their offsets in the arenas.
 *
 * @param ranks  0: raw; or FROZEN
 */
export function layoutOf(
  specs: readonly Pick<Spec, 'shape' | 'length' | 'rows' | 'cols'>[],
  ranks: readonly number[],
): Layout {
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

/** The layout in which all parameters are raw but those that are frozen. */
export function rawLayoutOf(specs: readonly Spec[], ranks: readonly number[]): Layout {
  return layoutOf(
    specs,
    ranks.map((rank) => (rank === FROZEN ? FROZEN : 0)),
  )
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
