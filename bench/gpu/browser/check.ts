// Checks a product: some of its rows or columns, against float64.
import { reference } from 'lowrank/kernels'
import { columnsOf, compare, gather, pick, rowsOf, twice } from '../../arrays.ts'
import type { Operation } from '../../peers/peer.ts'
import type { Operands } from './library.ts'

/**
 * Compares a result.
 *
 * @throws Error  that names the element and the expected value
 */
export type Check = (name: string, got: Float32Array, byColumn: boolean) => void

/** Checks for each operation. Each computes the expected values once. */
export function checksOf({ rows, cols, rank, m, p, q }: Operands): Record<Operation, Check> {
  const some = { rows: pick(rows), cols: pick(cols) }
  const factor = (
    length: number,
    picked: readonly number[],
    products: number,
    compute: (out: Float32Array, abs: (x: Float32Array) => Float32Array) => void,
  ): Check => {
    const [want, size] = twice((abs) => {
      const out = new Float32Array(picked.length * rank)
      compute(out, abs)
      return out
    })
    return (name, got, byColumn) => {
      const columns = byColumn ? got : transpose(got, rank)
      compare(name, gather(columns, length, rank, picked), want, size, products)
    }
  }
  const wide = { rows: some.rows.length, cols, rank }
  const tall = { rows, cols: some.cols.length, rank }
  const [someRows, someCols] = [rowsOf(m, cols, some.rows), columnsOf(m, cols, some.cols)]
  const someLeft = gather(p.columns, rows, rank, some.rows)
  const [update, updateSize] = twice((abs) => {
    const out = new Float32Array(wide.rows * cols)
    reference.reconstruct(out, abs(someLeft), abs(q.columns), wide)
    return out
  })
  return {
    M·Q: factor(rows, some.rows, cols, (out, abs) =>
      reference.project(out, abs(someRows), abs(q.columns), wide),
    ),
    Mᵀ·P: factor(cols, some.cols, rows, (out, abs) =>
      reference.backproject(out, abs(someCols), abs(p.columns), tall),
    ),
    P·Qᵀ: (name, got) => compare(name, rowsOf(got, cols, some.rows), update, updateSize, rank),
  }
}

/** Transposes a matrix with `cols` columns. */
export function transpose(x: Float32Array, cols: number): Float32Array {
  const rows = x.length / cols
  return x.map((_, i) => x[(i % rows) * cols + Math.floor(i / rows)]!)
}
