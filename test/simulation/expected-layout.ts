// The layout of a fleet, computed without the library: matrices, ranks, places in a frame; and
// products in float64 with the bounds of their float32 twins.

import type { Host, Layout as HostLayout, Parameter, Side } from '../../src/backend.ts'
import type { Method, ParameterSpec, Rank, SharedOptions } from '../../src/index.ts'
import { SMALLEST, UNIT } from '../support/close.ts'

/** The rank, in frames and checkpoints, of a parameter that is frozen. */
export const FROZEN = 0xffff

/** One parameter: DESIGN's matrix view of its shape. */
export interface Row {
  readonly shape: readonly number[]
  readonly length: number
  readonly rows: number
  readonly cols: number
  readonly own: Rank | undefined
  readonly compress: boolean | undefined
}

export function tableOf(shapes: readonly ParameterSpec[]): Row[] {
  return shapes.map((entry) => {
    const spec = 'shape' in entry ? entry : { shape: entry }
    const length = spec.shape.reduce((a, b) => a * b, 1)
    const rows = spec.rows ?? rowsOf(spec.shape)
    const { shape, rank, compress } = spec
    return { shape, length, rows, cols: length / rows, own: rank, compress }
  })
}

/** DESIGN's rule: the first axis, unless another place at least halves rows + columns. */
function rowsOf(shape: readonly number[]): number {
  const length = shape.reduce((a, b) => a * b, 1)
  const sums = shape.slice(1).map((_, i) => {
    const rows = shape.slice(0, i + 1).reduce((a, b) => a * b, 1)
    return { rows, sum: rows + length / rows }
  })
  const [first] = sums
  if (!first) return shape[0] ?? 1
  const best = sums.reduce((least, one) => (one.sum < least.sum ? one : least))
  return best.sum <= first.sum / 2 ? best.rows : first.rows
}

/** Whether the method takes half-steps; else it takes full steps. */
export function usesHalfSteps(method: Method | undefined): boolean {
  return method?.name === 'half-steps'
}

/** Whether new factors are drawn at the end of this step. */
export function drawnAfter(step: number, refresh: number): boolean {
  return refresh > 0 && (step + 1) % refresh === 0
}

/**
 * The gate clips the rank to the matrix; a tensor is raw if asked for, or if factors gain nothing.
 */
export function ranksFor(
  table: readonly Row[],
  wanted: Rank | readonly Rank[],
  { iterations = 1, minCompressionRate = 2, method }: SharedOptions,
): number[] {
  const sent = iterations / (usesHalfSteps(method) ? 2 : 1)
  return table.map(({ shape, rows, cols, own, compress }, i) => {
    const asked =
      typeof wanted === 'number' ? (own ?? wanted) : wanted === 'frozen' ? wanted : wanted[i]!
    if (asked === 'frozen') return FROZEN
    const rank = Math.min(asked, rows, cols)
    if (compress === true) return rank
    if (compress === false || shape.length < 2 || rows === 1 || cols === 1) return 0
    return sent * rank * (rows + cols) * minCompressionRate < rows * cols ? rank : 0
  })
}

/** Where each parameter's floats lie in the frames of a step. */
export interface Layout {
  readonly table: readonly Row[]
  /** as frames have them */
  readonly ranks: readonly number[]
  /** columns of the factors: 0 if the parameter has none */
  readonly columns: readonly number[]
  /** in a left round */
  readonly left: readonly number[]
  /** in a right round */
  readonly right: readonly number[]
  /** in the last round, after all factors */
  readonly raw: readonly number[]
  readonly leftFloats: number
  readonly rightFloats: number
  readonly rawFloats: number
}

export function layoutOf(table: readonly Row[], ranks: readonly number[]): Layout {
  const place = (lengths: number[]): [number[], number] => {
    let at = 0
    const places = lengths.map((length) => {
      at += length
      return at - length
    })
    return [places, at]
  }
  const columns = ranks.map((rank) => (rank === FROZEN ? 0 : rank))
  const [left, leftFloats] = place(table.map(({ rows }, i) => rows * columns[i]!))
  const [right, rightFloats] = place(table.map(({ cols }, i) => cols * columns[i]!))
  const [raw, rawFloats] = place(table.map(({ length }, i) => (ranks[i] === 0 ? length : 0)))
  return { table, ranks, columns, left, right, raw, leftFloats, rightFloats, rawFloats }
}

/** The layout for a host that orthonormalizes these factors. */
function planOf({
  table,
  ranks,
  columns,
  left,
  right,
  leftFloats,
  rightFloats,
}: Layout): HostLayout {
  const parameters = table.map(
    ({ shape, length, rows, cols }, index): Parameter => ({
      index,
      shape,
      length,
      rows,
      cols,
      rank: columns[index]!,
      frozen: ranks[index] === FROZEN,
      offset: 0,
      left: left[index]!,
      right: right[index]!,
      raw: 0,
    }),
  )
  return {
    parameters,
    matrices: parameters.filter(({ rank }) => rank > 0),
    raws: parameters.filter(({ rank, frozen }) => rank === 0 && !frozen),
    arenaFloats: 0,
    denseFloats: 0,
    leftFloats,
    rightFloats,
    rawFloats: 0,
  }
}

/** The basis that every worker computes from these bytes. */
export function basis(
  host: Host,
  layout: Layout,
  side: Side,
  columns: Float32Array,
  step: number,
): Float32Array {
  const copy = columns.slice(0, side === 'left' ? layout.leftFloats : layout.rightFloats)
  host.orthonormalize(planOf(layout), side, copy, step)
  return copy
}

/** Numbers in float64, and bounds for their float32 twins. */
export interface Sum {
  readonly values: Float64Array
  /** Σ of the magnitudes of the terms */
  readonly sizes: Float64Array
}

/** P·Qᵀ for parameter i, by row; p and q are arenas. */
export function product(
  { table, columns, left, right }: Layout,
  i: number,
  p: ArrayLike<number>,
  q: ArrayLike<number>,
): Sum {
  const { rows, cols, length } = table[i]!
  const values = new Float64Array(length)
  const sizes = new Float64Array(length)
  for (let k = 0; k < columns[i]!; k++) {
    for (let a = 0; a < rows; a++) {
      const x = p[left[i]! + k * rows + a]!
      for (let b = 0; b < cols; b++) {
        const term = x * q[right[i]! + k * cols + b]!
        values[a * cols + b]! += term
        sizes[a * cols + b]! += Math.abs(term)
      }
    }
  }
  return { values, sizes }
}

/** A product P·Qᵀ and raw tensors, subtracted from a worker's M or part of the update. */
export interface Contribution {
  /** a left arena */
  readonly left: Float32Array
  /** a right arena */
  readonly right: Float32Array
  /** the raw tensors; null: the contribution has none */
  readonly raw: Float32Array | null
}

/** The part of parameter i. */
export function contributed(layout: Layout, { left, right, raw }: Contribution, i: number): Sum {
  if (layout.ranks[i]! > 0) return product(layout, i, left, right)
  const from = layout.raw[i]!
  const { length } = layout.table[i]!
  const values = raw
    ? Float64Array.from(raw.subarray(from, from + length))
    : new Float64Array(length)
  return { values, sizes: values.map(Math.abs) }
}

/** M·Q (side 'left') or Mᵀ·P (side 'right') for parameter i; the result is that side's factor. */
export function factor(
  { table, columns, left, right }: Layout,
  i: number,
  side: Side,
  m: ArrayLike<number>,
  by: ArrayLike<number>,
): Sum {
  const { rows, cols } = table[i]!
  const [length, from] = side === 'left' ? [rows, right[i]!] : [cols, left[i]!]
  const values = new Float64Array(length * columns[i]!)
  const sizes = new Float64Array(length * columns[i]!)
  for (let k = 0; k < columns[i]!; k++) {
    for (let a = 0; a < rows; a++) {
      for (let b = 0; b < cols; b++) {
        const [to, at] = side === 'left' ? [a, k * cols + b] : [b, k * rows + a]
        const term = m[a * cols + b]! * by[from + at]!
        values[k * length + to]! += term
        sizes[k * length + to]! += Math.abs(term)
      }
    }
  }
  return { values, sizes }
}

/**
 * The bound of n roundings in a row of a number whose terms sum to `size`: γₙ, and the loss of each
 * rounding among the subnormals. (n is small: (1 + u)ⁿ − 1 ≤ 1.01·n·u.)
 */
export function rounded(n: number, size: number): number {
  return 1.01 * n * UNIT * size + n * SMALLEST
}
