// Steps of one round in which everyone gets everyone's factors, and forms the mean of their products:
// Σ weight·L·Rᵀ / Σ weight. Nothing is kept between steps: what is not sent, or lost on the wire, is lost.

import type { Algorithm, Incoming, Kept, Steps, Turn } from '../../algorithm.ts'
import type { Gradient, Plan } from '../../backend.ts'
import { bytesOf } from '../../bytes.ts'
import type { Part } from '../../codec/gathered.ts'
import { gathering } from '../../codec/gathered.ts'
import {
  bounded,
  type Desk,
  type Given,
  inArrays,
  isWhole,
  product,
  roomFor,
  roomForProduct,
  squares,
} from './products.ts'
import { pack, refuse, type Share, unpack } from './shares.ts'

/** Of an absent worker: it does not leave. */
const NOTHING = { words: new Uint32Array(0), floats: new Float32Array(0), columns: [] }

export abstract class Gathered implements Algorithm {
  readonly kept: Kept = { right: new Float32Array(0), left: new Float32Array(0), notes: {} }
  protected readonly desk: Desk
  #given: readonly Given[] = []

  constructor(desk: Desk) {
    this.desk = desk
  }

  /** The most columns that a part may have, by parameter. */
  protected abstract most(plan: Plan): readonly number[]

  /** What this worker sends of the plan's matrices, in their order. */
  protected abstract share(turn: Turn, matrices: readonly Given[]): readonly Share[]

  prepare(): void {}

  take(_turn: Turn, gradients: readonly Gradient[]): boolean {
    const given = inArrays(gradients)
    if (!given.every(bounded)) return false
    this.#given = given
    return true
  }

  withdraw(): void {}

  *step(turn: Turn): Steps {
    const { session, plan } = turn
    const own = turn.present ? pack(plan, this.#shares(turn)) : NOTHING
    const most = this.most(plan)
    const gathered = gathering(own, (part) => refuse(plan, part, most))
    const { parts, weight } = (yield { gathered }) as Incoming
    const mean = this.#mean(plan, parts, weight)
    return {
      settle: (sink) => session.settle(false, bytesOf(mean), sink),
      squares: squares(mean),
      raw: true,
    }
  }

  /** One per parameter. Raw ones that are factored are multiplied out. */
  #shares(turn: Turn): Share[] {
    const { matrices, parameters } = turn.plan
    const given = this.#given
    this.#given = [] // the caller's, once the frame is there
    const own = this.share(
      turn,
      matrices.map(({ index }) => given[index]!),
    )
    let next = 0
    return parameters.map((parameter): Share => {
      if (parameter.rank > 0) return own[next++]!
      const gradient = given[parameter.index]!
      if (isWhole(gradient)) return { whole: gradient }
      this.desk.reserve(roomForProduct(gradient, parameter))
      return { whole: product(this.desk, gradient, parameter).slice() }
    })
  }

  /** The update, of all parameters in order; in the desk's memory. The same bits on every worker. */
  #mean(plan: Plan, parts: readonly Part[], weight: number): Float32Array {
    const { desk } = this
    const shares = parts.map((part) => unpack(plan, part))
    const factors = shares.flat().filter((share) => 'left' in share)
    const lefts = Math.max(0, ...factors.map(({ left }) => left.length))
    const rights = Math.max(0, ...factors.map(({ right }) => right.length))
    desk.reserve(roomFor(plan.denseFloats, lefts, rights))
    const mean = desk.alloc(plan.denseFloats).fill(0)
    const [l, r] = [desk.alloc(lefts), desk.alloc(rights)]
    let at = 0
    for (const { index, rows, cols, length } of plan.parameters) {
      const y = mean.subarray(at, at + length)
      at += length
      for (const [i, { weight: own }] of parts.entries()) {
        const share = shares[i]![index]!
        if ('whole' in share) continue
        l.set(share.left)
        r.set(share.right)
        const dims = { rows, cols, rank: share.right.length / cols }
        desk.reconstruct(y, l, r, dims, own / weight, true)
      }
      addWhole(
        y,
        shares.map((of) => of[index]!),
        parts,
        weight,
      )
    }
    return mean
  }

  load(): void {}

  replan(): void {}
}

/** y ← y + Σ weight·whole / Σ weight, in float64, rounded once: a mean of raw values as `aggregate` has it. */
function addWhole(
  y: Float32Array,
  shares: readonly Share[],
  parts: readonly Part[],
  weight: number,
): void {
  const wholes = shares.flatMap((share, i) =>
    'whole' in share ? [{ values: share.whole, own: parts[i]!.weight }] : [],
  )
  if (wholes.length === 0) return
  for (let j = 0; j < y.length; j++) {
    let sum = 0
    for (const { values, own } of wholes) sum += own * values[j]!
    y[j] = y[j]! + sum / weight
  }
}
