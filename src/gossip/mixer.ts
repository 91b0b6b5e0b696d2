// What a node computes of its parameters, on either backend: their products with the bases of its edges, and
// the way towards its neighbours.

import type { Backend, Layout, Parameter, Session, Side, Tensor } from '../backend.ts'
import { bytesOf } from '../bytes.ts'
import { type Task, wait } from '../gensync.ts'
import { layoutOf } from '../layout.ts'
import type { Spec } from '../options.ts'
import type { Edge, HalfStepScope } from './edge.ts'

/** One edge's part of what is added to the parameters: so many times left·rightᵀ, and the difference. */
export interface EdgeMove {
  readonly edge: Edge
  readonly matrices: number
  readonly raws: number
}

/**
 * A session for all edges of a node: of each matrix, its factors hold those of one edge after another, so that
 * the parameters are read once for all products, and changed once for all moves. Its M is the snapshot.
 */
export class Mixer {
  readonly #session: Session
  readonly #specs: readonly Spec[]
  /** of one edge */
  readonly #layout: Layout
  #edges = 0
  #wide: Layout
  /** scratch: a left and a right arena of `wide`, the latter with the raw values behind it */
  #left = new Float32Array(0)
  #right = new Float32Array(0)

  /** @throws RangeError  if the backend has not the memory */
  static async open(backend: Backend, specs: readonly Spec[], layout: Layout): Promise<Mixer> {
    return new Mixer(await backend.open(layout), specs, layout)
  }

  private constructor(session: Session, specs: readonly Spec[], layout: Layout) {
    this.#session = session
    this.#specs = specs
    this.#layout = layout
    this.#wide = layout
  }

  get synchronous(): boolean {
    return this.#session.synchronous
  }

  get check(): Session['check'] {
    return this.#session.check.bind(this.#session)
  }

  /**
   * Takes a snapshot, and writes to each edge's `room` the matrices times its basis.
   *
   * @param raws  gets the values that have no factors, if they are shared
   * @returns false if a value is not finite or not below 2¹⁰⁰; the edges' rooms are as they were
   */
  *take(
    parameters: readonly Tensor[],
    edges: readonly Edge[],
    share: HalfStepScope,
    raws: Float32Array,
  ): Task<boolean> {
    const session = this.#session
    this.#arrange(edges.length)
    const turned = (side: Side) => (share.matrices ? edges.filter((one) => one.side === side) : [])
    const [lefts, rights] = [turned('left'), turned('right')]
    const { rightFloats } = this.#wide
    session.write('qHat', this.#bases(rights, 'right'))
    yield* wait(session.scale('residual', 0))
    if (!(yield* wait(session.accumulateProject(parameters)))) return false
    if (rights.length > 0) {
      yield* wait(session.read(['left'], this.#left))
      this.#part(this.#left, rights, 'left')
    }
    if (lefts.length === 0) {
      if (share.raws) yield* wait(session.read(['raw'], raws))
      return true
    }
    session.write('left', this.#bases(lefts, 'left'))
    yield* wait(session.backproject())
    // Both in one readback.
    yield* wait(session.read(share.raws ? ['qLocal', 'raw'] : ['qLocal'], this.#right))
    this.#part(this.#right, lefts, 'right')
    if (share.raws) raws.set(this.#right.subarray(rightFloats))
    return true
  }

  /** x ← x + Σ moves, in one pass. */
  *add(parameters: readonly Tensor[], moves: readonly EdgeMove[]): Task<void> {
    const whole = moves.some(({ raws }) => raws !== 0)
    if (!whole && moves.every(({ matrices }) => matrices === 0)) return
    const left = this.#left.fill(0)
    const mean = this.#right.subarray(0, this.#wide.rightFloats).fill(0)
    const raw = this.#right.subarray(this.#wide.rightFloats)
    for (const [k, { edge, matrices }] of moves.entries()) {
      if (matrices === 0) continue
      this.#put(left, k, edge.left, 'left', 1)
      this.#put(mean, k, edge.right, 'right', matrices)
    }
    let first = true
    for (const { edge, raws } of moves) {
      if (raws === 0) continue
      const { difference } = edge.coding
      if (first) for (let i = 0; i < raw.length; i++) raw[i] = raws * difference[i]!
      else for (let i = 0; i < raw.length; i++) raw[i]! += raws * difference[i]!
      first = false
    }
    this.#session.write('left', bytesOf(left))
    this.#session.write('qMean', bytesOf(mean))
    const sink = { into: parameters, scale: 1, accumulate: true }
    yield* wait(this.#session.settle(false, whole ? bytesOf(raw) : null, sink))
  }

  dispose(): void {
    this.#session.dispose()
  }

  /** Makes room for so many edges; what the factors held is gone. */
  #arrange(edges: number): void {
    const wanted = Math.max(1, edges)
    if (this.#edges === wanted) return
    const ranks = this.#layout.parameters.map(({ rank }) => rank * wanted)
    const wide = layoutOf(this.#specs, ranks)
    this.#session.rearrange(wide)
    this.#wide = wide
    this.#edges = wanted
    this.#left = new Float32Array(wide.leftFloats)
    this.#right = new Float32Array(wide.rightFloats + wide.rawFloats)
  }

  #bases(edges: readonly Edge[], side: Side): Uint8Array {
    const { rightFloats } = this.#wide
    const room = side === 'left' ? this.#left : this.#right.subarray(0, rightFloats)
    room.fill(0)
    for (const [k, edge] of edges.entries()) this.#put(room, k, edge.basis, side, 1)
    return bytesOf(room)
  }

  /** Writes the k-th edge's factors, times a number, to where the session has them. */
  #put(room: Float32Array, k: number, factors: Float32Array, side: Side, times: number): void {
    for (const [narrow, wide] of this.#pairs()) {
      const [from, length] = [narrow[side], lengthOf(narrow, side)]
      const to = wide[side] + k * length
      for (let i = 0; i < length; i++) room[to + i] = times * factors[from + i]!
    }
  }

  /** Gives each edge its own of what the session has. */
  #part(products: Float32Array, edges: readonly Edge[], side: Side): void {
    for (const [k, edge] of edges.entries()) {
      const { factors } = edge.room({ matrices: true, raws: false })
      for (const [narrow, wide] of this.#pairs()) {
        const length = lengthOf(narrow, side)
        const from = wide[side] + k * length
        factors.set(products.subarray(from, from + length), narrow[side])
      }
    }
  }

  *#pairs(): Generator<[narrow: Parameter, wide: Parameter]> {
    for (const [i, narrow] of this.#layout.matrices.entries())
      yield [narrow, this.#wide.matrices[i]!]
  }
}

function lengthOf({ rows, cols, rank }: Parameter, side: Side): number {
  return rank * (side === 'left' ? rows : cols)
}
