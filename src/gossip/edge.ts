// The state that a node keeps of one edge: factors, the coding's state, and the history of
// exchanges. Both ends compute it from the same bytes.

import type { Host, Layout, Side } from '../backend.ts'
import { bytesOf, concatBytes } from '../bytes.ts'
import { hash64 } from '../codec/xxh32.ts'
import { leftColumns, otherSide, rightColumns } from '../layout.ts'
import type { EdgePayload } from './compression.ts'
import { type Coding, type EdgeEnd, subtract } from './edge-coding.ts'
import type { GossipMethod } from './method.ts'

/** An exchange that this end has applied, with everything needed to take it back. */
export interface EdgeExchange {
  /** the history before the exchange */
  readonly previous: Uint8Array
  /** P·Qᵀ was added to the parameters times this number; 0: the exchange had no factors */
  readonly matrices: number
  /** the coding's difference was added times this number; 0: the exchange had none */
  readonly raws: number
  /** the side of the factor that was orthonormalized */
  readonly side: Side
}

/** The parameters that a half-step exchanges: those with factors, those without, or both. */
export interface HalfStepScope {
  readonly matrices: boolean
  readonly raws: boolean
}

/**
 * The state of the edge between nodes `lo` and `hi`, lo < hi. Both ends have the same bits as long
 * as they have the same history (`parent`).
 */
export class Edge {
  readonly lo: number
  readonly hi: number
  /** P of each matrix: rows × rank, by column; one matrix after another */
  readonly left: Float32Array
  /** Q of each matrix: cols × rank, by column; one matrix after another */
  readonly right: Float32Array
  /** coding of the parameters without factors */
  readonly coding: Coding
  /** the factor that the last exchange overwrote with its basis, as it was before */
  readonly before: Float32Array
  /** the orthonormal factor of the open half-step */
  readonly #basis: Float32Array
  /** this end's message in the open half-step: products with the basis, then the coding's floats */
  readonly #sent: EdgePayload
  readonly #isHi: boolean
  readonly #layout: Layout
  readonly #host: Host
  readonly #method: GossipMethod
  /**
   * the history: a hash of the initial factors and of all exchanges that have not been taken back
   */
  parent: Uint8Array
  /** the number of those exchanges that had factors */
  turns = 0
  /** the last of those exchanges; null: there is none, or it was taken back */
  last: EdgeExchange | null = null

  constructor(end: EdgeEnd, layout: Layout, host: Host, method: GossipMethod) {
    this.lo = end.lo
    this.hi = end.hi
    this.#isHi = end.isHi
    this.#layout = layout
    this.#host = host
    this.#method = method
    const most = Math.max(layout.leftFloats, layout.rightFloats)
    this.left = new Float32Array(layout.leftFloats)
    this.right = new Float32Array(layout.rightFloats)
    this.coding = method.coding(layout, end)
    this.before = new Float32Array(most)
    this.#basis = new Float32Array(most)
    const floats = this.coding.columns.reduce((a, b) => a + b, most)
    this.#sent = { words: new Uint32Array(this.coding.words), floats: new Float32Array(floats) }
    this.#draw()
    this.parent = hash64(concatBytes([hash64(bytesOf(this.left)), bytesOf(this.right)]))
  }

  /** The side whose factor the next exchange orthonormalizes. The sides take turns. */
  get side(): Side {
    const first = this.#method.published ? this.#method.iterations : 0
    return (first + this.turns) % 2 === 0 ? 'left' : 'right'
  }

  /** Computes `basis` for a new half-step. */
  prepare(): void {
    const { side } = this
    const basis = this.#basis.subarray(0, this.#factor(side).length)
    if (this.#method.warmStart) basis.set(this.#factor(side))
    else this.#fill(side, basis, this.turns + 1)
    this.#host.orthonormalize(this.#layout, side, basis, this.turns)
  }

  /**
   * The orthonormal factor on `side`, as `prepare` has computed it: rows × rank or cols × rank, by
   * column, one matrix after another.
   */
  get basis(): Float32Array {
    return this.#basis.subarray(0, this.#factor(this.side).length)
  }

  /**
   * The buffers of this end's message.
   *
   * @returns the message; the lengths of its columns of floats; and `factors`, the part of the
   *   floats that takes the matrices' products with the basis (the other side's arena). The
   *   coding's floats follow it.
   */
  room({
    matrices,
    raws,
  }: HalfStepScope): EdgePayload & { columns: number[]; factors: Float32Array } {
    const factors = this.side === 'left' ? rightColumns(this.#layout) : leftColumns(this.#layout)
    const columns = [...(matrices ? factors : []), ...(raws ? this.coding.columns : [])]
    const { words, floats } = this.#sent
    return {
      words: words.subarray(0, raws ? words.length : 0),
      floats: floats.subarray(0, sum(columns)),
      columns,
      factors: floats.subarray(0, matrices ? sum(factors) : 0),
    }
  }

  /**
   * Encodes the parameters without factors into this end's message, if the half-step exchanges
   * them.
   *
   * @param x  `layout.rawFloats` values
   * @param step  number of the iteration
   */
  code(x: Float32Array, scope: HalfStepScope, step: number): void {
    if (scope.raws) this.coding.code(x, this.#coded(this.room(scope), scope), step)
  }

  /**
   * Checks a message of the other end, which has the same history.
   *
   * @returns a description of the error, or null
   */
  refuse(sent: EdgePayload, scope: HalfStepScope): string | null {
    const { words, floats } = this.room(scope)
    if (sent.words.length !== words.length || sent.floats.length !== floats.length) {
      const want = `${words.length} words and ${floats.length} floats`
      return `expected ${want}, got ${sent.words.length} and ${sent.floats.length}`
    }
    return scope.raws ? this.coding.refuse(this.#coded(sent, scope)) : null
  }

  /**
   * Applies an exchange to the edge's state. left·rightᵀ and `coding.difference` then estimate the
   * difference hi − lo of the parameters. This node has to add them times `last.matrices` and
   * `last.raws`.
   *
   * @param received  the other end's message
   * @param checksums  of the frames of lo and of hi
   * @param weight  the edge's weight wᵢⱼ
   * @param x  this node's values without factors, as encoded. A sequential method moves them here.
   * @returns false if a difference is too large. The other end finds the same. Factors, coding and
   *   history are then unchanged, but the exchange before this one cannot be taken back any more.
   */
  commit(
    scope: HalfStepScope,
    received: EdgePayload,
    checksums: readonly [number, number],
    weight: number,
    x: Float32Array,
  ): boolean {
    const sent = this.room(scope)
    const [hi, lo] = this.#isHi ? [sent, received] : [received, sent]
    const { side } = this
    const difference = new Float32Array(sent.factors.length)
    const done =
      subtract(difference, hi.floats, lo.floats) &&
      (!scope.raws ||
        this.coding.commit(this.#coded(lo, scope), this.#coded(hi, scope), this.#isHi, x))
    if (!done) {
      // The other end has applied the last exchange, too, for it has the same history.
      this.last = null
      return false
    }
    const sign = this.#isHi ? -weight : weight
    const { matrices, raws } = this.#method.gamma
    this.last = {
      previous: this.parent,
      matrices: scope.matrices ? sign * matrices : 0,
      raws: scope.raws ? sign * raws : 0,
      side,
    }
    if (scope.raws && this.#method.sequential) {
      for (let i = 0; i < x.length; i++) x[i]! += this.last.raws * this.coding.difference[i]!
    }
    if (scope.matrices) {
      this.before.set(this.#factor(side))
      this.#factor(side).set(this.basis)
      this.#factor(otherSide(side)).set(difference)
      this.turns++
    }
    this.parent = hash64(
      concatBytes([this.parent, new Uint8Array(Uint32Array.from(checksums).buffer)]),
    )
    return true
  }

  /**
   * Takes the last exchange back. The caller has already subtracted its products from the
   * parameters.
   */
  retract(): void {
    const { previous, matrices, raws, side } = this.last!
    if (raws !== 0) this.coding.retract()
    if (matrices !== 0) {
      this.turns--
      const factor = this.#factor(side)
      factor.set(this.before.subarray(0, factor.length))
    }
    this.parent = previous
    this.last = null
  }

  /**
   * Returns to the initial factors. The other end does the same and hence gets the same history.
   *
   * @param histories  those of lo and of hi
   */
  restart(histories: readonly [Uint8Array, Uint8Array]): void {
    const [lo, hi] = histories
    this.parent = hash64(concatBytes([lo, hi]))
    this.turns = 0
    this.last = null
    this.coding.restart()
    this.#draw()
  }

  /** The coding's part of an end's message: all words, and the floats after the factors. */
  #coded({ words, floats }: EdgePayload, scope: HalfStepScope): EdgePayload {
    return { words, floats: floats.subarray(this.room(scope).factors.length) }
  }

  #draw(): void {
    this.#fill('left', this.left, 0)
    this.#fill('right', this.right, 0)
  }

  /** Fills a factor of each matrix with seeded normals. @param step  0: the initial ones */
  #fill(side: Side, into: Float32Array, step: number): void {
    for (const matrix of this.#layout.matrices) this.#host.fill(matrix, side, into, 0, step)
  }

  #factor(side: Side): Float32Array {
    return side === 'left' ? this.left : this.right
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0)
}
