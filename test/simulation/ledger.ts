// One worker's ledger: the sum of its gradients, the sum of what was sent in its name, and the
// bound in float32 of their difference, which is the residual.
import { within } from '../support/close.ts'
import { readState } from '../support/safetensors.ts'
import {
  type Contribution,
  contributed,
  FROZEN,
  type Layout,
  type Row,
  rounded,
} from './expected-layout.ts'

export class Ledger {
  readonly #table: readonly Row[]
  /** by parameter, in float64 */
  readonly #taken: Float64Array[]
  readonly #given: Float64Array[]
  readonly #slack: Float64Array[]
  /** e, as last saved */
  residual: Float32Array[]

  /** @param residual  at the beginning: zero, or the worker's part of a merged state */
  constructor(table: readonly Row[], residual?: readonly Float32Array[]) {
    this.#table = table
    const zeros = () => table.map(({ length }) => new Float64Array(length))
    this.#taken = residual ? residual.map((e) => Float64Array.from(e)) : zeros()
    this.#given = zeros()
    this.#slack = zeros()
    this.residual = residual
      ? residual.map((e) => e.slice())
      : table.map(({ length }) => new Float32Array(length))
  }

  /** M ← e + g: one rounding; three if g was added and taken back. */
  take(gradients: readonly Float32Array[], kept: boolean, { ranks }: Layout): void {
    this.#each((i, j) => {
      if (ranks[i] === FROZEN) return
      const g = gradients[i]![j]!
      const size = Math.abs(this.residual[i]![j]!) + (Number.isFinite(g) ? Math.abs(g) : 0)
      if (kept) this.#taken[i]![j]! += g
      this.#slack[i]![j]! += rounded(kept ? 1 : 3, size)
    })
  }

  /**
   * M ← M − P·Qᵀ for one contribution after another: each rounds rank products and sums, then the
   * difference. A raw tensor leaves M less the values sent; on a lossless wire, zero.
   */
  give(
    layout: Layout,
    contributions: readonly Contribution[],
    gradients: readonly Float32Array[],
  ): void {
    for (const [i, rank] of layout.columns.entries()) {
      if (layout.ranks[i] === FROZEN) continue
      const parts = contributions.map((one) => contributed(layout, one, i))
      for (let j = 0; j < this.#table[i]!.length; j++) {
        const m = Math.abs(this.residual[i]![j]!) + Math.abs(gradients[i]?.[j] ?? 0)
        const size = parts.reduce((sum, { sizes }) => sum + sizes[j]!, m)
        for (const { values } of parts) {
          this.#given[i]![j]! += values[j]!
          this.#slack[i]![j]! += rounded(2 * rank + 2, size)
        }
      }
    }
  }

  /** e ← e + factor·other, the residual of a worker that leaves. */
  adopt(other: readonly Float32Array[], factor: number): void {
    this.#each((i, j) => {
      const amount = factor * other[i]![j]!
      this.#taken[i]![j]! += amount
      this.#slack[i]![j]! += rounded(2, Math.abs(amount) + Math.abs(this.residual[i]![j]!))
    })
  }

  /** e ← factor·e: the residual changes its unit; what was sent does not. */
  rescale(factor: number): void {
    this.#each((i, j) => {
      const e = this.residual[i]![j]!
      this.#taken[i]![j]! += (Math.fround(factor) - 1) * e
      this.#slack[i]![j]! += rounded(1, Math.abs(factor * e))
    })
  }

  /** The residual of a parameter that is frozen is dropped. */
  drop(i: number): void {
    for (const array of [this.#taken, this.#given, this.#slack]) array[i]!.fill(0)
  }

  /** Fails unless given + residual = taken. */
  balance(state: Uint8Array, who: string): void {
    const { tensors } = readState(state)
    this.residual = this.#table.map((_, i) => tensors.get(`residual/${i}`)!.data)
    for (const [i, e] of this.residual.entries()) {
      const want = this.#taken[i]!
      const given = this.#given[i]!
      const got = Float64Array.from(e, (value, j) => value + given[j]!)
      within(got, want, (j) => this.#slack[i]![j]!, `ledger of ${who}, parameter ${i}`)
    }
  }

  #each(visit: (i: number, j: number) => void): void {
    for (const [i, { length }] of this.#table.entries()) {
      for (let j = 0; j < length; j++) visit(i, j)
    }
  }
}
