// A node's arithmetic on its parameters, on any backend: their products with the bases of its
// edges, and the addition of its moves towards its neighbours.

import type { Backend, Layout, Parameter, Session, Side, Tensor } from '../backend.ts'
import { bytesOf } from '../bytes.ts'
import { type Task, wait } from '../gensync.ts'
import { FROZEN, layoutOf } from '../layout.ts'
import type { Spec } from '../options.ts'
import type { Edge, HalfStepScope } from './edge.ts'

/**
 * One edge's move: matrices · left·rightᵀ is added to the parameters with factors, and raws ·
 * difference to those without.
 */
export interface EdgeMove {
  readonly edge: Edge
  readonly matrices: number
  readonly raws: number
}

/**
 * One session for all edges of a node. Its factors have the columns of all edges side by side: k
 * edges of rank r make one factor of rank k·r. So the parameters are read once for all products,
 * and written once for all moves. The session's M is a snapshot of the parameters.
 */
export class Mixer {
  readonly #session: Session
  readonly #specs: readonly Spec[]
  /** layout of one edge's factors */
  readonly #layout: Layout
  /** number of edges that `#wide` is for */
  #edges = 0
  /** layout of the session's factors: all edges side by side */
  #wide: Layout
  /** scratch: a left arena of `#wide`, and a right arena followed by the raw values */
  #left = new Float32Array(0)
  #right = new Float32Array(0)

  /** @throws RangeError  if the backend does not have the memory */
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
   * Takes a snapshot of the parameters, and writes to each edge's message (`room`) the products of
   * the matrices with the edge's basis.
   *
   * @param edges  of which `prepare` has computed the bases
   * @param raws  out: the parameters without factors, `layout.rawFloats` values, if `scope` has
   *   them
   * @returns false if a value is not finite or not below 2¹⁰⁰; the messages are then unchanged
   */
  *take(
    parameters: readonly Tensor[],
    edges: readonly Edge[],
    scope: HalfStepScope,
    raws: Float32Array,
  ): Task<boolean> {
    const session = this.#session
    this.#arrange(edges.length)
    const startingWith = (side: Side) =>
      scope.matrices ? edges.filter((one) => one.side === side) : []
    const [lefts, rights] = [startingWith('left'), startingWith('right')]
    const { rightFloats } = this.#wide
    session.write('qHat', this.#bases(rights, 'right'))
    yield* wait(session.scale('residual', 0))
    if (!(yield* wait(session.accumulateProject(parameters)))) return false
    if (rights.length > 0) {
      yield* wait(session.read(['left'], this.#left))
      this.#distribute(this.#left, rights, 'left')
    }
    if (lefts.length === 0) {
      if (scope.raws) yield* wait(session.read(['raw'], raws))
      return true
    }
    session.write('left', this.#bases(lefts, 'left'))
    yield* wait(session.backproject())
    // In one call, so that a GPU reads back once.
    yield* wait(session.read(scope.raws ? ['qLocal', 'raw'] : ['qLocal'], this.#right))
    this.#distribute(this.#right, lefts, 'right')
    if (scope.raws) raws.set(this.#right.subarray(rightFloats))
    return true
  }

  /** parameters ← parameters + Σ moves, in one pass. */
  *add(parameters: readonly Tensor[], moves: readonly EdgeMove[]): Task<void> {
    const anyRaw = moves.some(({ raws }) => raws !== 0)
    if (!anyRaw && moves.every(({ matrices }) => matrices === 0)) return
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
    yield* wait(this.#session.settle(false, anyRaw ? bytesOf(raw) : null, sink))
  }

  dispose(): void {
    this.#session.dispose()
  }

  /** Lays the session's factors out for so many edges. Their contents are lost. */
  #arrange(edges: number): void {
    const wanted = Math.max(1, edges)
    if (this.#edges === wanted) return
    const ranksFor = (places: number) => this.#layout.parameters.map(({ rank }) => rank * places)
    // Room for one more, which stays zero, where a rank would be the number that means frozen.
    const spare = ranksFor(wanted).includes(FROZEN) ? 1 : 0
    const ranks = ranksFor(wanted + spare)
    const wide = layoutOf(this.#specs, ranks)
    const left = new Float32Array(wide.leftFloats)
    const right = new Float32Array(wide.rightFloats + wide.rawFloats)
    this.#session.rearrange(wide)
    this.#wide = wide
    this.#edges = wanted
    this.#left = left
    this.#right = right
  }

  /** A left or right arena of `#wide` with the bases of these edges. Valid until the next call. */
  #bases(edges: readonly Edge[], side: Side): Uint8Array {
    const { rightFloats } = this.#wide
    const arena = side === 'left' ? this.#left : this.#right.subarray(0, rightFloats)
    arena.fill(0)
    for (const [k, edge] of edges.entries()) this.#put(arena, k, edge.basis, side, 1)
    return bytesOf(arena)
  }

  /** Copies the k-th edge's factors, times a number, into an arena of `#wide`. */
  #put(arena: Float32Array, k: number, factors: Float32Array, side: Side, times: number): void {
    for (const [narrow, wide] of this.#pairs()) {
      const [from, length] = [narrow[side], lengthOf(narrow, side)]
      const to = wide[side] + k * length
      for (let i = 0; i < length; i++) arena[to + i] = times * factors[from + i]!
    }
  }

  /** Copies each edge's products from an arena of `#wide` into the edge's message. */
  #distribute(products: Float32Array, edges: readonly Edge[], side: Side): void {
    for (const [k, edge] of edges.entries()) {
      const { factors } = edge.room({ matrices: true, raws: false })
      for (const [narrow, wide] of this.#pairs()) {
        const length = lengthOf(narrow, side)
        const from = wide[side] + k * length
        factors.set(products.subarray(from, from + length), narrow[side])
      }
    }
  }

  /** Each matrix in the layout of one edge, and in that of all. */
  *#pairs(): Generator<[narrow: Parameter, wide: Parameter]> {
    for (const [i, narrow] of this.#layout.matrices.entries())
      yield [narrow, this.#wide.matrices[i]!]
  }
}

/** Floats in a factor. */
function lengthOf({ rows, cols, rank }: Parameter, side: Side): number {
  return rank * (side === 'left' ? rows : cols)
}
