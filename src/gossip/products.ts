// What is computed of the parameters: products with bases, and the way towards the neighbours.
import { type Waiting, wait } from '../effects.ts'
import type { Dense, Kernels, Parameter, Plan } from '../seam.ts'
import { type Edge, other } from './edge.ts'

/** What a node computes with. */
export type Arithmetic = Pick<Kernels, 'project' | 'backproject' | 'reconstruct' | 'accumulate'>

/** One edge's part of what is added to the parameters: so many times left·rightᵀ, and the difference. */
export interface Move {
  readonly edge: Edge
  readonly matrices: number
  readonly raws: number
}

/**
 * A matrix times the bases of all edges, to where they send it from: those of one side together, so that the
 * matrix is read once.
 */
export function* multiply(
  arithmetic: Arithmetic,
  matrix: Parameter,
  x: Dense,
  all: readonly Edge[],
): Waiting<void> {
  const { rows, cols, rank } = matrix
  for (const side of ['left', 'right'] as const) {
    const edges = all.filter((edge) => edge.side === side)
    if (edges.length === 0) continue
    const [from, to] = side === 'left' ? [rows, cols] : [cols, rows]
    const bases = new Float32Array(edges.length * rank * from)
    const products = new Float32Array(edges.length * rank * to)
    for (const [k, { basis }] of edges.entries()) {
      bases.set(basis.subarray(matrix[side], matrix[side] + rank * from), k * rank * from)
    }
    const dims = { rows, cols, rank: edges.length * rank }
    if (side === 'left') yield* wait(arithmetic.backproject(products, x, bases, dims))
    else yield* wait(arithmetic.project(products, x, bases, dims))
    for (const [k, edge] of edges.entries()) {
      const product = products.subarray(k * rank * to, (k + 1) * rank * to)
      edge.room({ matrices: true, raws: false }).factors.set(product, matrix[other(side)])
    }
  }
}

/** x ← x + Σ moves, each matrix in one pass. */
export function* add(
  arithmetic: Arithmetic,
  plan: Plan,
  parameters: readonly Dense[],
  moves: readonly Move[],
): Waiting<void> {
  for (const { index, raw, length } of plan.raws) {
    for (const { edge, raws } of moves) {
      if (raws === 0) continue
      const difference = edge.coding.difference.subarray(raw, raw + length)
      yield* wait(arithmetic.accumulate(parameters[index]!, difference, raws))
    }
  }
  const all = moves.filter(({ matrices }) => matrices !== 0)
  if (all.length === 0) return
  for (const { index, rows, cols, rank, left, right } of plan.matrices) {
    const lefts = new Float32Array(all.length * rank * rows)
    const rights = new Float32Array(all.length * rank * cols)
    for (const [k, { edge, matrices }] of all.entries()) {
      lefts.set(edge.left.subarray(left, left + rank * rows), k * rank * rows)
      const from = edge.right.subarray(right, right + rank * cols)
      for (const [i, value] of from.entries()) rights[k * rank * cols + i] = matrices * value
    }
    const dims = { rows, cols, rank: all.length * rank }
    yield* wait(arithmetic.reconstruct(parameters[index]!, lefts, rights, dims, 1, true))
  }
}
