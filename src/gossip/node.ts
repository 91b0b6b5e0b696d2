// One node: who its neighbours are, and where its iteration stands.

import type { Tensor } from '../backend.ts'
import { equalBytes } from '../bytes.ts'
import { checksumIn } from '../codec/frame.ts'
import { RoundError, UnsupportedError } from '../errors.ts'
import { runAsync, runSync, type Task } from '../gensync.ts'
import type { Spec } from '../options.ts'
import { checkTensors, integer, show } from '../validate.ts'
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
 * What became of an edge in a half-step:
 *
 *   exchanged  both moved towards each other (the other end, unless this node's frame got lost)
 *   missed     the neighbour did not answer
 *   retracted  the neighbour had not got this node's last frame, or another one: what this node had
 *              applied then has been taken back
 *   waited     the neighbour has applied what this node has not, and will take it back
 *   restarted  the ends had nothing in common: their factors begin anew
 *   overflowed a difference of the two is 2¹⁰⁰ or more, and both leave it
 */
export type EdgeOutcome =
  | 'exchanged'
  | 'missed'
  | 'retracted'
  | 'waited'
  | 'restarted'
  | 'overflowed'

export interface Applied {
  /** The next half-step's frames, by neighbour; null: the iteration is over. */
  readonly frames: ReadonlyMap<number, Uint8Array> | null
  /** by neighbour */
  readonly outcomes: ReadonlyMap<number, EdgeOutcome>
}

/** What a node is made of; `createGossip` puts it together. */
export interface NodeParts extends NeighbourParts {
  readonly specs: readonly Spec[]
  readonly frames: EdgeFrames
  readonly mixer: Mixer
  readonly step: number
  readonly save: (step: number, links: ReadonlyMap<number, Neighbour>) => Uint8Array
}

/** A neighbour in an open half-step. */
interface Conversation {
  readonly sent: Uint8Array
  said: EdgeMessage | null
  given: boolean
}

/** Made by `createGossip`. */
export class Gossip {
  readonly #parts: NodeParts
  readonly #links: Map<number, Neighbour>
  /** the values that have no factors, one after another */
  readonly #raws: Float32Array
  #position: IterationPosition
  /** null: between two iterations */
  #talks: Map<number, Conversation> | null = null
  #busy = false
  #disposed = false

  /** @internal */
  constructor(parts: NodeParts, links: Map<number, Neighbour>) {
    this.#parts = parts
    this.#links = links
    this.#raws = new Float32Array(parts.layout.rawFloats)
    this.#position = { step: parts.step, round: 0 }
  }

  /** The number of the open iteration, or of the next. */
  get step(): number {
    return this.#position.step
  }

  /** The neighbours' numbers, ascending. */
  get neighbours(): number[] {
    return [...this.#links.keys()].sort((a, b) => a - b)
  }

  /** Those that have neither answered nor been given up. */
  get waiting(): number[] {
    const open = [...(this.#talks ?? [])].filter(([, { said, given }]) => !said && !given)
    return open.map(([id]) => id)
  }

  /** The rank of each parameter; 0: it travels whole. */
  get ranks(): number[] {
    return this.#parts.layout.parameters.map(({ rank }) => rank)
  }

  /**
   * Begins an iteration: what is sent is of these values, whatever becomes of them until `apply`.
   *
   * @param parameters  one array per parameter; only read
   * @param options.step  the iteration's number, for a node that has been left behind, or comes later
   *   than others. Default: one more than the last.
   * @returns a frame for each neighbour
   * @throws TypeError, RangeError  if they do not fit, or are not finite
   * @throws RoundError  if an iteration is open
   * @throws DeviceLostError  (lowrank/webgpu) if the GPU is lost, and with it the parameters that were there
   */
  async begin(
    parameters: readonly Tensor[],
    options: { readonly step?: number } = {},
  ): Promise<Map<number, Uint8Array>> {
    return runAsync(this.#exclusive(this.#begin(parameters, options)))
  }

  /** `begin` for hosts that cannot await. @throws UnsupportedError  unless on wasm */
  beginSync(
    parameters: readonly Tensor[],
    options: { readonly step?: number } = {},
  ): Map<number, Uint8Array> {
    return this.#now(this.#begin(parameters, options))
  }

  /**
   * Takes a neighbour's answer.
   *
   * @returns 'taken'; 'late': it is of a half-step that is over, forget it; 'early': of one to come, give
   *   it again then
   * @throws RangeError  if this is no neighbour
   * @throws FrameError  if it is not a frame of this neighbour's; everything is as it was
   * @throws RoundError  if no iteration is open, or the neighbour has answered
   */
  receive(neighbour: number, frame: Uint8Array): 'taken' | 'late' | 'early' {
    const { edge } = this.#link(neighbour)
    const opened = this.#parts.frames.open(frame, neighbour)
    const { step, round } = this.#position
    const ahead = opened.step - step || opened.round - round
    if (ahead > 0 || (this.#talks === null && ahead === 0)) return 'early'
    if (ahead < 0) return 'late'
    const talk = this.#talks!.get(neighbour)!
    if (talk.said) {
      throw new RoundError(`neighbour ${neighbour} has answered in iteration ${step}, ${round}`)
    }
    const share = this.#share()
    talk.said = this.#parts.frames.read(opened, edge.parent, (sent) => edge.refuse(sent, share))
    return 'taken'
  }

  /**
   * Does not wait for this neighbour any more; its answer is taken all the same if it comes before
   * `apply`.
   *
   * @throws RangeError  if this is no neighbour
   * @throws RoundError  if no iteration is open
   */
  giveUp(neighbour: number): void {
    this.#link(neighbour)
    this.#open('giveUp').get(neighbour)!.given = true
  }

  /**
   * Moves the parameters towards those of the neighbours who have answered. With several half-steps in an
   * iteration, begins the next.
   *
   * @param parameters  changed in place; they may have been trained since `begin`
   * @throws TypeError, RangeError  if they do not fit, or, where another half-step follows, are not finite
   *   after this one, which then is done: the iteration is over
   * @throws RoundError  if no iteration is open, or a neighbour is waited for
   * @throws DeviceLostError  as `begin`; neighbours may have applied what this node has not
   */
  async apply(parameters: readonly Tensor[]): Promise<Applied> {
    return runAsync(this.#exclusive(this.#apply(parameters)))
  }

  /** `apply` for hosts that cannot await. @throws UnsupportedError  unless on wasm */
  applySync(parameters: readonly Tensor[]): Applied {
    return this.#now(this.#apply(parameters))
  }

  /**
   * Adds a neighbour, who does the same; or, if it is one, asks for another weight. Of the weights that
   * both ends ask for, the smaller is used.
   *
   * @throws TypeError, RangeError  naming the argument
   * @throws RoundError  if an iteration is open
   */
  addNeighbour(neighbour: number, weight: number): void {
    this.#between('join')
    checkNeighbour(this.#parts.self, neighbour, weight)
    const known = this.#links.get(neighbour)
    if (known) known.weight = Math.fround(weight)
    else this.#links.set(neighbour, createNeighbour(this.#parts, neighbour, weight))
  }

  /**
   * Forgets a neighbour, who does the same or is gone. If it had not got this node's last frame, or this
   * node its last, one of the two has applied an exchange that the other has not, and nobody will take
   * it back: then the sum of both has moved by that exchange.
   *
   * @throws RangeError  if this is no neighbour
   * @throws RoundError  if an iteration is open
   */
  removeNeighbour(neighbour: number): void {
    this.#between('leave')
    this.#link(neighbour)
    this.#links.delete(neighbour)
  }

  /**
   * What is kept of all edges, for `createGossip(shapes, { restore })`; keep the parameters of the same
   * moment with it.
   *
   * @throws RoundError  if an iteration is open
   */
  save(): Uint8Array {
    this.#between('save')
    return this.#parts.save(this.#position.step, this.#links)
  }

  /** Gives memory back. Every later call raises a RoundError. */
  dispose(): void {
    if (this.#disposed) return
    this.#refuseOverlap()
    this.#disposed = true
    this.#talks = null
    this.#parts.mixer.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  *#begin(
    parameters: readonly Tensor[],
    { step = this.#position.step }: { readonly step?: number },
  ): Task<Map<number, Uint8Array>> {
    this.#closed('begin')
    this.#check(parameters)
    integer('step', step, this.#position.step, 0xfffffffe)
    const { iterations, published } = this.#parts.method
    const round = published && step === 0 ? iterations - 1 : 0
    return yield* this.#send(parameters, { step, round })
  }

  /** Opens a half-step. */
  *#send(
    parameters: readonly Tensor[],
    position: IterationPosition,
  ): Task<Map<number, Uint8Array>> {
    const { mixer, frames } = this.#parts
    const share = this.#share(position)
    const edges = [...this.#links.values()].map(({ edge }) => edge)
    if (share.matrices) for (const edge of edges) edge.prepare()
    if (!(yield* mixer.take(parameters, edges, share, this.#raws))) {
      throw new RangeError('"parameters": expected finite numbers below 2¹⁰⁰ only')
    }
    const talks = new Map<number, Conversation>()
    for (const [id, { edge, weight }] of this.#links) {
      edge.code(this.#raws, share, position.step)
      const { parent, last } = edge
      const previous = last?.previous ?? null
      const sent = frames.write(position, parent, previous, weight, edge.room(share))
      if (!sent) throw new RangeError('"parameters": expected products that the wire can carry')
      talks.set(id, { sent, said: null, given: false })
    }
    this.#position = position
    this.#talks = talks
    return new Map([...talks].map(([id, { sent }]) => [id, sent]))
  }

  *#apply(parameters: readonly Tensor[]): Task<Applied> {
    const talks = this.#open('apply')
    const { mixer, self } = this.#parts
    this.#check(parameters)
    const { waiting } = this
    if (waiting.length > 0) {
      throw new RoundError(`apply: neighbours ${waiting} have neither answered nor been given up`)
    }
    const outcomes = new Map<number, EdgeOutcome>()
    const moves: EdgeMove[] = []
    const retracted: Edge[] = []
    for (const [id, { edge, weight }] of this.#links) {
      const { sent, said } = talks.get(id)!
      const { last } = edge
      const same = said !== null && equalBytes(said.parent, edge.parent)
      const parted =
        said && last && [said.parent, said.previous].some((p) => equalBytes(p, last.previous))
      if (!said) outcomes.set(id, 'missed')
      else if (same) {
        const high = edge.hi === self
        const sums = [checksumIn(sent), said.checksum] as const
        const ordered = high ? ([sums[1], sums[0]] as const) : sums
        const agreed = Math.min(weight, said.weight)
        const done = edge.commit(this.#share(), said.sent, ordered, agreed, this.#raws)
        if (done) moves.push({ edge, ...edge.last! })
        outcomes.set(id, done ? 'exchanged' : 'overflowed')
      } else if (parted) {
        moves.push({ edge, matrices: -last.matrices, raws: -last.raws })
        retracted.push(edge)
        outcomes.set(id, 'retracted')
      } else if (equalBytes(said.previous, edge.parent)) outcomes.set(id, 'waited')
      else {
        const low = edge.lo === self
        edge.restart(low ? [edge.parent, said.parent] : [said.parent, edge.parent])
        outcomes.set(id, 'restarted')
      }
    }
    const { step, round } = this.#position
    const next = { step, round: round + 1 }
    const last = next.round === this.#parts.method.iterations
    // From here on this half-step's frames are late, and the next one's early, while others wait.
    this.#talks = null
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

  #share({ step, round } = this.#position): HalfStepScope {
    const { iterations, published } = this.#parts.method
    const matrices = !(published && step === 0) && this.#parts.layout.matrices.length > 0
    return { matrices, raws: round === iterations - 1 }
  }

  #check(parameters: readonly Tensor[]): void {
    checkTensors(parameters, this.#parts.specs, 'parameters', this.#parts.mixer.check)
  }

  #link(neighbour: number): Neighbour {
    const link = this.#links.get(neighbour)
    if (link) return link
    const known = this.neighbours.join(', ') || 'none'
    throw new RangeError(`"neighbour": expected one of ${known}, got ${show(neighbour)}`)
  }

  /** One call at a time: what has to wait must not be overtaken. */
  *#exclusive<T>(work: Task<T>): Task<T> {
    this.#refuseOverlap()
    this.#busy = true
    try {
      return yield* work
    } finally {
      this.#busy = false
    }
  }

  /** Runs a call to its end at once; refused before it begins where that cannot be. */
  #now<T>(work: Task<T>): T {
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

  #open(call: string): Map<number, Conversation> {
    if (this.#talks) return this.#talks
    throw new RoundError(`${call}: expected an open iteration; call begin first`)
  }

  /** Between two iterations, and in none of its calls. @param call  that is made */
  #between(call: string): void {
    this.#refuseOverlap()
    this.#closed(call)
  }

  #closed(call: string): void {
    if (!this.#talks) return
    throw new RoundError(`${call}: iteration ${this.#position.step} is open; call apply first`)
  }
}
