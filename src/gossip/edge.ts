// One end's part of what both ends of an edge keep: factors, and the history of their exchanges.
import { bytesOf } from '../bytes.ts'
import { hash64 } from '../codec/xxh32.ts'
import { leftColumns, rawLengths, rightColumns } from '../plan.ts'
import type { Host, Plan, Side } from '../seam.ts'
import type { GossipMethod } from './method.ts'

/** An exchange that this end has applied: all that it takes to take it back. */
export interface Exchange {
  /** the history before it */
  readonly previous: Uint8Array
  /** what P·Qᵀ, and the raw values' difference, have been added times; 0: nothing of that kind was */
  readonly matrices: number
  readonly raws: number
  /** the side whose factor it began with */
  readonly side: Side
}

/** What a half-step exchanges. */
export interface Share {
  readonly matrices: boolean
  readonly raws: boolean
}

/** Differences so large are left alone, by both ends: with them parameters might overflow. */
const LIMIT = 2 ** 100

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
  /** what the raw values differed by, of the last exchange that has such */
  readonly difference: Float32Array
  /** the factor that the last exchange began with, as it was before */
  readonly before: Float32Array
  /** of the open half-step: the orthonormal factor, and what this end sends */
  readonly #basis: Float32Array
  readonly #sent: Float32Array
  readonly #plan: Plan
  readonly #host: Host
  readonly #method: GossipMethod
  /** hash of all exchanges that count */
  parent: Uint8Array
  /** how many of them had factors */
  turns = 0
  /** the last one, unless it has been taken back */
  last: Exchange | null = null

  constructor(lo: number, hi: number, plan: Plan, host: Host, method: GossipMethod) {
    this.lo = lo
    this.hi = hi
    this.#plan = plan
    this.#host = host
    this.#method = method
    const most = Math.max(plan.leftFloats, plan.rightFloats)
    this.left = new Float32Array(plan.leftFloats)
    this.right = new Float32Array(plan.rightFloats)
    this.difference = new Float32Array(plan.rawFloats)
    this.before = new Float32Array(most)
    this.#basis = new Float32Array(most)
    this.#sent = new Float32Array(most + plan.rawFloats)
    this.#draw()
    this.parent = chained(hash64(bytesOf(this.left)), bytesOf(this.right))
  }

  /** which factor the next exchange begins with */
  get side(): Side {
    const first = this.#method.published ? this.#method.iterations : 0
    return (first + this.turns) % 2 === 0 ? 'left' : 'right'
  }

  /** Of that factor: an orthonormal basis, made anew for a half-step. */
  prepare(): Float32Array {
    const { side } = this
    const basis = this.#basis.subarray(0, this.#factor(side).length)
    if (this.#method.warmStart) basis.set(this.#factor(side))
    else this.#fill(side, basis, this.turns + 1)
    this.#host.orthonormalize(this.#plan, side, basis, this.turns)
    return basis
  }

  /** What `prepare` has made. */
  get basis(): Float32Array {
    return this.#basis.subarray(0, this.#factor(this.side).length)
  }

  /**
   * Room for what this end sends: the matrices times the basis, a right or left arena of the plan, and
   * raw values; with the lengths of their columns.
   */
  room({ matrices, raws }: Share): {
    factors: Float32Array
    raws: Float32Array
    floats: Float32Array
    columns: number[]
  } {
    const length = matrices ? this.#factor(other(this.side)).length : 0
    const end = length + (raws ? this.#plan.rawFloats : 0)
    const columns = this.side === 'left' ? rightColumns(this.#plan) : leftColumns(this.#plan)
    return {
      factors: this.#sent.subarray(0, length),
      raws: this.#sent.subarray(length, end),
      floats: this.#sent.subarray(0, end),
      columns: [...(matrices ? columns : []), ...(raws ? rawLengths(this.#plan) : [])],
    }
  }

  /**
   * Takes over an exchange: `left`·`right`ᵀ and `difference` are what the ends' difference is then to be
   * reduced by, and `last` says how far.
   *
   * @param own  true: this end is `hi`
   * @param received  what the other end sent, as long as what this one did
   * @param checksums  of the frames of lo and hi
   * @param weight  of the edge
   * @returns false if the difference is too large, and nothing has changed, as on the other end
   */
  commit(
    share: Share,
    own: boolean,
    received: Float32Array,
    checksums: readonly [number, number],
    weight: number,
  ): boolean {
    const { floats, factors } = this.room(share)
    const [high, low] = own ? [floats, received] : [received, floats]
    for (let i = 0; i < floats.length; i++) {
      if (!(Math.abs(Math.fround(high[i]! - low[i]!)) < LIMIT)) return false
    }
    const { side, turns } = this
    const toward = own ? -weight : weight
    const { matrices, raws } = this.#method.gamma
    this.last = {
      previous: this.parent,
      matrices: share.matrices ? toward * matrices : 0,
      raws: share.raws ? toward * raws : 0,
      side,
    }
    const into = this.#factor(other(side))
    if (share.matrices) {
      this.before.set(this.#factor(side))
      this.#factor(side).set(this.basis)
      for (let i = 0; i < factors.length; i++) into[i] = high[i]! - low[i]!
      this.turns = turns + 1
    }
    if (share.raws) {
      const { difference } = this
      const at = factors.length
      for (let i = 0; i < difference.length; i++) difference[i] = high[at + i]! - low[at + i]!
    }
    this.parent = chained(this.parent, new Uint8Array(Uint32Array.from(checksums).buffer))
    return true
  }

  /** Forgets the last exchange, whose products have been taken back from the parameters. */
  retract(): void {
    const { previous, matrices, side } = this.last!
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
    this.parent = chained(lo, hi)
    this.turns = 0
    this.last = null
    this.#draw()
  }

  #draw(): void {
    this.#fill('left', this.left, 0)
    this.#fill('right', this.right, 0)
  }

  #fill(side: Side, into: Float32Array, step: number): void {
    for (const matrix of this.#plan.matrices) this.#host.fill(matrix, side, into, 0, step)
  }

  #factor(side: Side): Float32Array {
    return side === 'left' ? this.left : this.right
  }
}

export function other(side: Side): Side {
  return side === 'left' ? 'right' : 'left'
}

function chained(parent: Uint8Array, more: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(parent.length + more.length)
  bytes.set(parent)
  bytes.set(more, parent.length)
  return hash64(bytes)
}
