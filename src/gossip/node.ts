// One gossip node: its neighbours, and the half-steps of its iterations.

import type { Tensor } from '../backend.ts'
import { type Bytes, type BytesLike, equalBytes } from '../bytes.ts'
import { checksumIn } from '../codec/frame.ts'
import { DeviceLostError, RoundError, UnsupportedError } from '../errors.ts'
import { runAsync, runSync, type Task } from '../gensync.ts'
import type { Spec } from '../options.ts'
import { checkTensors, integer, knownOptions, show } from '../validate.ts'
import type { Edge, HalfStepScope } from './edge.ts'
import type { EdgeFrames, EdgeMessage, IterationPosition } from './frames.ts'
import type { EdgeMove, Mixer } from './mixer.ts'
import {
  checkNeighbour,
  createNeighbour,
  type Neighbour,
  type NeighbourParts,
} from './neighbour.ts'

/**
 * The result of a half-step on one edge:
 *
 *   exchanged   this node moved towards the neighbour. So did the neighbour, unless this node's
 *               frame got lost.
 *   missed      the neighbour did not answer. This node did nothing.
 *   retracted   the neighbour had not applied this node's last exchange, or had applied another
 *               one in its place. This node has taken that exchange back.
 *   waited      the neighbour has applied an exchange that this node has not, and will take it
 *               back.
 *   restarted   the ends had no common history, and have returned to the initial factors.
 *   overflowed  an element of the difference is 2¹⁰⁰ or more. Both ends ignore the exchange.
 */
export type EdgeOutcome =
  | 'exchanged'
  | 'missed'
  | 'retracted'
  | 'waited'
  | 'restarted'
  | 'overflowed'

/** The result of `apply`. */
export interface Applied {
  /** The next half-step's frames, by neighbour; null: the iteration is over. */
  readonly frames: ReadonlyMap<number, Bytes> | null
  /** The half-step's result on each edge, by neighbour. */
  readonly outcomes: ReadonlyMap<number, EdgeOutcome>
}

/** The parts of a node, as `createGossip` creates them. */
export interface NodeParts extends NeighbourParts {
  readonly specs: readonly Spec[]
  readonly frames: EdgeFrames
  readonly mixer: Mixer
  /** number of the first iteration */
  readonly step: number
  /** encodes a checkpoint */
  readonly save: (step: number, neighbours: ReadonlyMap<number, Neighbour>) => Bytes
}

/** The exchange with one neighbour in the open half-step. */
interface OpenExchange {
  /** this node's frame */
  readonly sent: Bytes
  /** the neighbour's; null: it has not answered */
  received: EdgeMessage | null
  /** true: `apply` does not wait for an answer */
  givenUp: boolean
}

/** One node of a gossip network. Created by `createGossip`, which describes an iteration. */
export class Gossip {
  readonly #parts: NodeParts
  readonly #neighbours: Map<number, Neighbour>
  /** scratch: the parameters without factors, one after another, as of the open half-step */
  readonly #raws: Float32Array
  /** the open half-step, or the next one */
  #position: IterationPosition
  /** the open half-step's exchanges, by neighbour; null: no iteration is open */
  #exchanges: Map<number, OpenExchange> | null = null
  /** true: a call is running */
  #busy = false
  /** thrown by `begin` and `apply` once one has found the device lost */
  #lost: DeviceLostError | null = null
  #disposed = false

  /** @internal */
  constructor(parts: NodeParts, neighbours: Map<number, Neighbour>) {
    this.#parts = parts
    this.#neighbours = neighbours
    this.#raws = new Float32Array(parts.layout.rawFloats)
    this.#position = { step: parts.step, round: 0 }
  }

  /** The number of the open iteration, or of the next one. */
  get step(): number {
    return this.#position.step
  }

  /** The neighbours' numbers, ascending. */
  get neighbours(): number[] {
    return [...this.#neighbours.keys()].sort((a, b) => a - b)
  }

  /** The neighbours that have neither answered nor been given up; none if no iteration is open. */
  get waiting(): number[] {
    const open = [...(this.#exchanges ?? [])].filter(
      ([, { received, givenUp }]) => !received && !givenUp,
    )
    return open.map(([id]) => id)
  }

  /** The rank of each parameter's factors; 0: it has none, and is left to the method's coding. */
  get ranks(): number[] {
    return this.#parts.layout.parameters.map(({ rank }) => rank)
  }

  /**
   * Begins an iteration. Its frames are of the parameters' current values; the parameters may
   * change before `apply`.
   *
   * @param parameters  one tensor per parameter, in the order of `shapes`; only read
   * @param options.step  the iteration's number, for a node that is behind the others or joins
   *   later. Default: one more than the last.
   * @returns the frames to send, by neighbour
   * @throws TypeError, RangeError  if the parameters do not fit the shapes, or have values (or
   *   products with the factors) that are not finite, or not below 2⁶⁴
   * @throws RoundError  if an iteration is open, another call is running, or the node is disposed
   *   of
   * @throws DeviceLostError  (lowrank/webgpu) if the GPU is lost, and with it the parameters on it
   */
  async begin(
    parameters: readonly Tensor[],
    options: { readonly step?: number } = {},
  ): Promise<Map<number, Bytes>> {
    return runAsync(this.#exclusive(this.#begin(parameters, options)))
  }

  /**
   * `begin` for hosts that cannot await.
   *
   * @throws UnsupportedError  if the backend is asynchronous
   */
  beginSync(
    parameters: readonly Tensor[],
    options: { readonly step?: number } = {},
  ): Map<number, Bytes> {
    return this.#runNow(this.#begin(parameters, options))
  }

  /**
   * Takes a neighbour's frame. The parameters change only in `apply`.
   *
   * @returns 'taken'. 'late': the frame is of a half-step that is over; drop it. 'early': it is of
   *   a later half-step, or no iteration is open; pass it again then.
   * @throws RangeError  if `neighbour` is not a neighbour
   * @throws TypeError  if `frame` is no bytes
   * @throws FrameError  if this is not a valid frame of that neighbour. The node is unchanged.
   * @throws RoundError  if the neighbour has answered already
   */
  receive(neighbour: number, frame: BytesLike): 'taken' | 'late' | 'early' {
    const { edge } = this.#neighbourOf(neighbour)
    const opened = this.#parts.frames.open(frame, neighbour)
    const { step, round } = this.#position
    const ahead = opened.step - step || opened.round - round
    if (ahead > 0 || (this.#exchanges === null && ahead === 0)) return 'early'
    if (ahead < 0) return 'late'
    const exchange = this.#exchanges!.get(neighbour)!
    if (exchange.received) {
      throw new RoundError(
        `neighbour ${neighbour} has answered in iteration ${step}, ${round}: drop its second frame`,
      )
    }
    const scope = this.#scope()
    exchange.received = this.#parts.frames.read(opened, edge.parent, (sent) =>
      edge.refuse(sent, scope),
    )
    return 'taken'
  }

  /**
   * Stops waiting for a neighbour in this half-step. Its frame still counts if it arrives before
   * `apply`.
   *
   * @throws RangeError  if `neighbour` is not a neighbour
   * @throws RoundError  if no iteration is open
   */
  giveUp(neighbour: number): void {
    this.#neighbourOf(neighbour)
    this.#openExchanges('giveUp').get(neighbour)!.givenUp = true
  }

  /**
   * Moves the parameters towards those of the neighbours that have answered. If the iteration has
   * another half-step, begins it.
   *
   * @param parameters  changed in place; training may have changed them since `begin`
   * @throws TypeError, RangeError  if the parameters do not fit the shapes. Also if another
   *   half-step follows and they are not finite after this one; this one is then applied, and the
   *   iteration is over.
   * @throws RoundError  if no iteration is open, or a neighbour has neither answered nor been given
   *   up
   * @throws DeviceLostError  as `begin`; neighbours may have applied exchanges that this node has
   *   not
   */
  async apply(parameters: readonly Tensor[]): Promise<Applied> {
    return runAsync(this.#exclusive(this.#apply(parameters)))
  }

  /**
   * `apply` for hosts that cannot await.
   *
   * @throws UnsupportedError  if the backend is asynchronous
   */
  applySync(parameters: readonly Tensor[]): Applied {
    return this.#runNow(this.#apply(parameters))
  }

  /**
   * Adds a neighbour; or, if it is one already, changes the weight that this node asks for. The
   * neighbour must add this node, too. Of the weights that the two ends ask for, the smaller one is
   * used.
   *
   * @param weight  0 < weight ≤ 1
   * @throws TypeError, RangeError  naming the argument
   * @throws RoundError  if an iteration is open
   */
  addNeighbour(neighbour: number, weight: number): void {
    this.#assertBetweenIterations('addNeighbour')
    checkNeighbour(this.#parts.self, neighbour, weight)
    const known = this.#neighbours.get(neighbour)
    if (known) known.weight = Math.fround(weight)
    else this.#neighbours.set(neighbour, createNeighbour(this.#parts, neighbour, weight))
  }

  /**
   * Removes a neighbour and the state of its edge. The neighbour must remove this node, too, or be
   * gone.
   *
   * If one frame of the last half-step got lost, one of the two has applied an exchange that the
   * other has not, and it will not be taken back: the sum of the two nodes' parameters stays off by
   * that exchange.
   *
   * @throws RangeError  if `neighbour` is not a neighbour
   * @throws RoundError  if an iteration is open
   */
  removeNeighbour(neighbour: number): void {
    this.#assertBetweenIterations('removeNeighbour')
    this.#neighbourOf(neighbour)
    this.#neighbours.delete(neighbour)
  }

  /**
   * Saves the state of all edges as a checkpoint, a safetensors file, for `createGossip(shapes,
   * { restore })`. It does not hold the parameters: save those of the same moment with it.
   *
   * @throws RoundError  if an iteration is open
   */
  save(): Bytes {
    this.#assertBetweenIterations('save')
    return this.#parts.save(this.#position.step, this.#neighbours)
  }

  /**
   * Releases the node's memory. Later calls throw a RoundError, except that `dispose` does nothing
   * and `receive` takes no frame.
   *
   * @throws RoundError  if another call is running
   */
  dispose(): void {
    if (this.#disposed) return
    this.#refuseOverlap()
    this.#disposed = true
    this.#exchanges = null
    this.#parts.mixer.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  *#begin(
    parameters: readonly Tensor[],
    options: { readonly step?: number },
  ): Task<Map<number, Bytes>> {
    this.#assertNoneOpen('begin')
    const { step = this.#position.step } = knownOptions(options, ['step'])
    if (this.#position.step > 0xfffffffe) {
      throw new RoundError('begin: iteration 2³² − 2, the last, is over: create new nodes')
    }
    this.#check(parameters)
    integer('step', step, this.#position.step, 0xfffffffe)
    const { iterations, published } = this.#parts.method
    const round = published && step === 0 ? iterations - 1 : 0
    return yield* this.#send(parameters, { step, round })
  }

  /** Opens a half-step and encodes its frames. */
  *#send(parameters: readonly Tensor[], position: IterationPosition): Task<Map<number, Bytes>> {
    const { mixer, frames } = this.#parts
    const scope = this.#scope(position)
    const edges = [...this.#neighbours.values()].map(({ edge }) => edge)
    if (scope.matrices) for (const edge of edges) edge.prepare()
    if (!(yield* mixer.take(parameters, edges, scope, this.#raws))) {
      throw new RangeError('"parameters": expected finite numbers below 2¹⁰⁰ only')
    }
    const exchanges = new Map<number, OpenExchange>()
    for (const [id, { edge, weight }] of this.#neighbours) {
      edge.code(this.#raws, scope, position.step)
      const { parent, last } = edge
      const previous = last?.previous ?? null
      const sent = frames.write(position, parent, previous, weight, edge.room(scope))
      if (!sent) throw new RangeError('"parameters": expected values and products below 2⁶⁴')
      exchanges.set(id, { sent, received: null, givenUp: false })
    }
    this.#position = position
    this.#exchanges = exchanges
    return new Map([...exchanges].map(([id, { sent }]) => [id, sent]))
  }

  *#apply(parameters: readonly Tensor[]): Task<Applied> {
    const exchanges = this.#openExchanges('apply')
    const { mixer, self } = this.#parts
    this.#check(parameters)
    const { waiting } = this
    if (waiting.length > 0) {
      throw new RoundError(`apply: neighbours ${waiting} have neither answered nor been given up`)
    }
    const outcomes = new Map<number, EdgeOutcome>()
    const moves: EdgeMove[] = []
    const retracted: Edge[] = []
    for (const [id, { edge, weight }] of this.#neighbours) {
      const { sent, received } = exchanges.get(id)!
      const { last } = edge
      const same = received !== null && equalBytes(received.parent, edge.parent)
      const neighbourLacksLast =
        received &&
        last &&
        [received.parent, received.previous].some((p) => equalBytes(p, last.previous))
      if (!received) outcomes.set(id, 'missed')
      else if (same) {
        const high = edge.hi === self
        const sums = [checksumIn(sent), received.checksum] as const
        const ordered = high ? ([sums[1], sums[0]] as const) : sums
        const agreed = Math.min(weight, received.weight)
        const done = edge.commit(this.#scope(), received.sent, ordered, agreed, this.#raws)
        if (done) moves.push({ edge, ...edge.last! })
        outcomes.set(id, done ? 'exchanged' : 'overflowed')
      } else if (neighbourLacksLast) {
        moves.push({ edge, matrices: -last.matrices, raws: -last.raws })
        retracted.push(edge)
        outcomes.set(id, 'retracted')
      } else if (equalBytes(received.previous, edge.parent)) outcomes.set(id, 'waited')
      else {
        const low = edge.lo === self
        edge.restart(low ? [edge.parent, received.parent] : [received.parent, edge.parent])
        outcomes.set(id, 'restarted')
      }
    }
    const { step, round } = this.#position
    const next = { step, round: round + 1 }
    const last = next.round === this.#parts.method.iterations
    // The next line comes before any await: from here on, `receive` calls this half-step's frames
    // late and the next one's early.
    this.#exchanges = null
    this.#position = last ? { step: step + 1, round: 0 } : next
    yield* mixer.add(parameters, moves)
    for (const edge of retracted) edge.retract()
    if (last) return { frames: null, outcomes }
    try {
      return { frames: yield* this.#send(parameters, next), outcomes }
    } catch (error) {
      this.#position = { step: step + 1, round: 0 }
      throw error
    }
  }

  #scope({ step, round } = this.#position): HalfStepScope {
    const { iterations, published } = this.#parts.method
    const matrices = !(published && step === 0) && this.#parts.layout.matrices.length > 0
    return { matrices, raws: round === iterations - 1 }
  }

  #check(parameters: readonly Tensor[]): void {
    checkTensors(parameters, this.#parts.specs, 'parameters', this.#parts.mixer.check)
  }

  #neighbourOf(neighbour: number): Neighbour {
    const found = this.#neighbours.get(neighbour)
    if (found) return found
    const known = this.neighbours.join(', ') || 'none'
    throw new RangeError(`"neighbour": expected one of ${known}, got ${show(neighbour)}`)
  }

  /** Runs a call that may have to wait. No other call may run meanwhile. */
  *#exclusive<T>(work: Task<T>): Task<T> {
    this.#refuseOverlap()
    if (this.#lost) throw this.#lost
    this.#busy = true
    try {
      return yield* work
    } catch (error) {
      if (error instanceof DeviceLostError) this.#lost = error
      throw error
    } finally {
      this.#busy = false
    }
  }

  /**
   * Runs a call to its end without waiting; on an asynchronous backend, throws before it begins.
   */
  #runNow<T>(work: Task<T>): T {
    this.#refuseOverlap()
    if (!this.#parts.mixer.synchronous) {
      throw new UnsupportedError(
        'this backend works asynchronously: call the method without "Sync"',
      )
    }
    return runSync(this.#exclusive(work))
  }

  #refuseOverlap(): void {
    if (this.#busy) throw new RoundError('another call of this node is still running')
    if (this.#disposed) throw new RoundError('this node has been disposed of')
  }

  #openExchanges(call: string): Map<number, OpenExchange> {
    if (this.#exchanges) return this.#exchanges
    throw new RoundError(`${call}: expected an open iteration; call begin first`)
  }

  /** @param call  the method's name, for the message */
  #assertBetweenIterations(call: string): void {
    this.#refuseOverlap()
    this.#assertNoneOpen(call)
  }

  #assertNoneOpen(call: string): void {
    if (!this.#exchanges) return
    throw new RoundError(`${call}: iteration ${this.#position.step} is open; call apply first`)
  }
}
