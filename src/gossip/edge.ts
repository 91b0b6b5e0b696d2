// One end's part of what both ends of an edge keep: factors, and the history of their exchanges.

import type { Host, Layout, Side } from '../backend.ts'
import { bytesOf, concatBytes } from '../bytes.ts'
import { hash64 } from '../codec/xxh32.ts'
import { leftColumns, otherSide, rightColumns } from '../layout.ts'
import { type Coding, type EdgeEnd, subtract } from './coding.ts'
import type { EdgePayload } from './compression.ts'
import type { GossipMethod } from './method.ts'

/** An exchange that this end has applied: all that it takes to take it back. */
export interface EdgeExchange {
  /** the history before it */
  readonly previous: Uint8Array
  /** what P·Qᵀ, and the coding's difference, have been added times; 0: nothing of that kind was */
  readonly matrices: number
  readonly raws: number
  /** the side whose factor it began with */
  readonly side: Side
}

/** What a half-step exchanges. */
export interface HalfStepScope {
  readonly matrices: boolean
  readonly raws: boolean
}

/**
 * The state of an edge between `lo` and `hi`, lo < hi, the same to the bit on both ends as long as their
 * histories are.
 */
export class Edge {
  readonly lo: number
  readonly hi: number
  /** rows × rank and cols × rank of each matrix, by column */
  readonly left: Float32Array
  readonly right: Float32Array
  /** for what has no factors */
  readonly coding: Coding
  /** the factor that the last exchange began with, as it was before */
  readonly before: Float32Array
  /** of the open half-step: the orthonormal factor, and what this end sends */
  readonly #basis: Float32Array
  readonly #sent: EdgePayload
  readonly #own: boolean
  readonly #layout: Layout
  readonly #host: Host
  readonly #method: GossipMethod
  /** hash of all exchanges that count */
  parent: Uint8Array
  /** how many of them had factors */
  turns = 0
  /** the last one, unless it has been taken back */
  last: EdgeExchange | null = null

  constructor(end: EdgeEnd, layout: Layout, host: Host, method: GossipMethod) {
    this.lo = end.lo
    this.hi = end.hi
    this.#own = end.own
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
    this.parent = hash64(concatBytes(hash64(bytesOf(this.left)), bytesOf(this.right)))
  }

  /** which factor the next exchange begins with */
  get side(): Side {
    const first = this.#method.published ? this.#method.iterations : 0
    return (first + this.turns) % 2 === 0 ? 'left' : 'right'
  }

  /** Of that factor: an orthonormal basis, made anew for a half-step. */
  prepare(): void {
    const { side } = this
    const basis = this.#basis.subarray(0, this.#factor(side).length)
    if (this.#method.warmStart) basis.set(this.#factor(side))
    else this.#fill(side, basis, this.turns + 1)
    this.#host.orthonormalize(this.#layout, side, basis, this.turns)
  }

  /** What `prepare` has made. */
  get basis(): Float32Array {
    return this.#basis.subarray(0, this.#factor(this.side).length)
  }

  /** Room for what this end sends, with the lengths of its columns. */
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
      // The matrices times the basis, a right or left arena of the plan, come first.
      factors: floats.subarray(0, matrices ? sum(factors) : 0),
    }
  }

  /** Codes the values that have no factors, in the iteration of this number. */
  code(x: Float32Array, share: HalfStepScope, step: number): void {
    if (share.raws) this.coding.code(x, this.#coded(this.room(share), share), step)
  }

  /** What is wrong with what the other end sent, if its history is this end's. */
  refuse(sent: EdgePayload, share: HalfStepScope): string | null {
    const { words, floats } = this.room(share)
    if (sent.words.length !== words.length || sent.floats.length !== floats.length) {
      const want = `${words.length} words and ${floats.length} floats`
      return `expected ${want}, got ${sent.words.length} and ${sent.floats.length}`
    }
    return share.raws ? this.coding.refuse(this.#coded(sent, share)) : null
  }

  /**
   * Takes over an exchange: left·rightᵀ and the coding's difference are what the ends' difference is then
   * to be reduced by, and `last` says how far.
   *
   * @param received  what the other end sent
   * @param checksums  of the frames of lo and hi
   * @param weight  of the edge
   * @param x  this node's values as coded; where edges are applied one after another, moved by this one
   * @returns false if a difference is too large, and nothing has changed, as on the other end
   */
  commit(
    share: HalfStepScope,
    received: EdgePayload,
    checksums: readonly [number, number],
    weight: number,
    x: Float32Array,
  ): boolean {
    const sent = this.room(share)
    const [hi, lo] = this.#own ? [sent, received] : [received, sent]
    const { side } = this
    const difference = new Float32Array(sent.factors.length)
    const done =
      subtract(difference, hi.floats, lo.floats) &&
      (!share.raws ||
        this.coding.commit(this.#coded(lo, share), this.#coded(hi, share), this.#own, x))
    if (!done) {
      this.last = null // the other end has it, too: its history is the same
      return false
    }
    const toward = this.#own ? -weight : weight
    const { matrices, raws } = this.#method.gamma
    this.last = {
      previous: this.parent,
      matrices: share.matrices ? toward * matrices : 0,
      raws: share.raws ? toward * raws : 0,
      side,
    }
    if (share.raws && this.#method.sequential) {
      for (let i = 0; i < x.length; i++) x[i]! += this.last.raws * this.coding.difference[i]!
    }
    if (share.matrices) {
      this.before.set(this.#factor(side))
      this.#factor(side).set(this.basis)
      this.#factor(otherSide(side)).set(difference)
      this.turns++
    }
    this.parent = hash64(
      concatBytes(this.parent, new Uint8Array(Uint32Array.from(checksums).buffer)),
    )
    return true
  }

  /** Forgets the last exchange, whose products have been taken back from the parameters. */
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

  /** Begins anew, as the other end does that has come to know of the same two histories. */
  restart(histories: readonly [Uint8Array, Uint8Array]): void {
    const [lo, hi] = histories
    this.parent = hash64(concatBytes(lo, hi))
    this.turns = 0
    this.last = null
    this.coding.restart()
    this.#draw()
  }

  /** What is the coding's of what an end sent: it comes after the factors. */
  #coded({ words, floats }: EdgePayload, share: HalfStepScope): EdgePayload {
    return { words, floats: floats.subarray(this.room(share).factors.length) }
  }

  #draw(): void {
    this.#fill('left', this.left, 0)
    this.#fill('right', this.right, 0)
  }

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
