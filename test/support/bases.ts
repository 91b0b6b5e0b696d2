// Matrices by column with known condition numbers, and the errors of bases.
import * as assert from 'uvu/assert'
import { reference } from '../../src/backends/reference.ts'
import { gaussian } from './gaussian.ts'

export const BOUND = 5e-7 // on |PᵀP − I|, by contract

/** Rows and rank. */
export const SIZES = [
  [1, 1],
  [3, 2],
  [5, 5],
  [63, 7],
  [64, 64],
  [512, 2],
  [2600, 4],
  [1027, 16],
  [4608, 32],
] as const

function dot(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!
  return sum
}

/** The columns of a matrix that lies by column. */
export function columnsOf(p: Float32Array, rows: number): Float32Array[] {
  return Array.from({ length: p.length / rows }, (_, k) => p.subarray(k * rows, (k + 1) * rows))
}

/** max |PᵀP − I|; NaN if any element is. */
export function defect(p: Float32Array, rows: number): number {
  const columns = columnsOf(p, rows)
  return Math.max(
    ...columns.flatMap((x, i) =>
      columns.slice(0, i + 1).map((y, j) => Math.abs(dot(x, y) - (i === j ? 1 : 0))),
    ),
  )
}

/** The largest part of a column of `x` that lies outside the span of p's columns. */
export function outside(x: Float32Array, p: Float32Array, rows: number): number {
  const axes = columnsOf(p, rows)
  const parts = columnsOf(x, rows).map((column) => {
    const rest = Float64Array.from(column)
    for (let turn = 0; turn < 2; turn++) {
      for (const axis of axes) {
        const amount = dot(rest, axis)
        for (let i = 0; i < rows; i++) rest[i]! -= amount * axis[i]!
      }
    }
    return Math.sqrt(dot(rest, rest) / dot(column, column))
  })
  return Math.max(...parts)
}

const rotations = new Map<string, Float32Array>() // every condition number needs the same ones

/** Orthonormal columns. */
async function rotation(rows: number, rank: number): Promise<Float32Array> {
  const name = `${rows} × ${rank}`
  const columns = rotations.get(name) ?? gaussian(rows * rank, rows + rank)
  if (!rotations.has(name)) {
    assert.is(await reference.orthonormalize(columns, rows, rank), rank)
    rotations.set(name, columns)
  }
  return columns
}

/**
 * Columns with the given condition number: U·Σ·Vᵀ, Σ from 1 down to 1/condition by equal ratios.
 */
export async function conditioned(
  rows: number,
  rank: number,
  condition: number,
  scale = 1,
): Promise<Float32Array> {
  const u = await rotation(rows, rank)
  const v = await rotation(rank, rank)
  const values = Array.from({ length: rank }, (_, s) => condition ** (-s / Math.max(1, rank - 1)))
  return Float32Array.from({ length: rows * rank }, (_, at) => {
    const [i, k] = [at % rows, Math.floor(at / rows)]
    let sum = 0
    for (let s = 0; s < rank; s++) {
      sum += u[s * rows + i]! * values[s]! * v[s * rank + k]!
    }
    return scale * sum
  })
}
