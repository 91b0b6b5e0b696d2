// The frames that the ends of an edge exchange: kind 'gathered', with one part, the sender's.
//
// `parent` in the header is the sender's history of the edge. The part's weight is the one that the
// sender asks for. Its first two words are the history before the sender's last exchange; they are
// zero if there is no exchange to take back.
import type { Layout } from '../backend.ts'
import { type Bytes, type BytesLike, equalBytes, utf8 } from '../bytes.ts'
import { beginFrame, decodeFrame, type Frame, sealFrame } from '../codec/frame.ts'
import {
  type Columns,
  packData,
  partError,
  partsLength,
  partsOf,
  unpackPart,
  writeParts,
} from '../codec/gathered.ts'
import { type Header, namesOf, senderAt } from '../codec/header.ts'
import { assertSameCut } from '../codec/match.ts'
import type { Wire } from '../codec/wire/index.ts'
import { hash64 } from '../codec/xxh32.ts'
import { FrameError } from '../errors.ts'
import { hashedShapes } from '../layout.ts'
import type { Spec } from '../options.ts'
import type { EdgePayload } from './compression.ts'
import type { GossipMethod } from './method.ts'

/** A half-step: the number of its iteration, and its own within the iteration. */
export interface IterationPosition {
  readonly step: number
  readonly round: number
}

/** A frame of an edge, as decoded. */
export interface EdgeMessage {
  /** of the frame */
  readonly checksum: number
  /** the sender's history */
  readonly parent: Uint8Array
  /** the history before the sender's last exchange; zeros: there is none to take back */
  readonly previous: Uint8Array
  /** the weight that the sender asks for */
  readonly weight: number
  readonly sent: EdgePayload
}

/** Words before those of the coding: the history before the sender's last exchange. */
export const HISTORY_WORDS = 2

const NO_HISTORY = new Uint8Array(4 * HISTORY_WORDS)

/** Encodes the frames of one node and decodes those of its neighbours. */
export class EdgeFrames {
  readonly #configHash: Uint8Array
  readonly #self: number
  readonly #wire: Wire
  readonly #ranks: Uint16Array

  constructor(
    specs: readonly Spec[],
    layout: Layout,
    method: GossipMethod,
    seed: number,
    self: number,
    wire: Wire,
  ) {
    const shared = JSON.stringify([hashedShapes(specs), method.name, method.options, seed])
    this.#configHash = hash64(utf8(shared))
    this.#self = self
    this.#wire = wire
    this.#ranks = Uint16Array.from(layout.parameters, ({ rank }) => rank)
  }

  /**
   * Hash of all that both ends of an edge must agree on: shapes, method, its options, and the seed.
   */
  get configHash(): Uint8Array {
    return this.#configHash
  }

  /**
   * Encodes a frame.
   *
   * @param parent  this end's history
   * @param previous  the history before its last exchange; null: there is none to take back
   * @param weight  the weight that this node asks for
   * @param payload  its floats are overwritten with the values that the other end will decode
   * @returns null if a number is not finite, or not below 2⁶⁴
   */
  write(
    position: IterationPosition,
    parent: Uint8Array,
    previous: Uint8Array | null,
    weight: number,
    payload: EdgePayload & Columns,
  ): Bytes | null {
    const words = new Uint32Array(HISTORY_WORDS + payload.words.length)
    words.set(new Uint32Array((previous ?? NO_HISTORY).slice().buffer))
    words.set(payload.words, HISTORY_WORDS)
    const data = packData(this.#wire, { ...payload, words })
    if (data === null) return null
    const part = { sender: this.#self, weight, type: this.#wire, data }
    const header = this.#header(position, parent, weight, this.#self)
    const { bytes, values } = beginFrame(header, partsLength([part]))
    writeParts([part], values)
    return sealFrame(bytes)
  }

  /**
   * Decodes a frame's header and checks it, except for step, round, history and weight.
   *
   * @throws FrameError  unless it is a frame of this sender, with the same shapes and options
   */
  open(bytes: BytesLike, sender: number): Frame {
    const frame = decodeFrame(bytes)
    const { step, round, parent, weight } = frame
    assertSameCut(this.#header({ step, round }, parent, weight, sender), frame)
    const [got] = frame.senders
    if (frame.senders.length !== 1 || got !== sender) {
      throw new FrameError(
        `expected a frame of sender ${sender}, got one of ${namesOf(frame.senders)}`,
        senderAt(0),
      )
    }
    return frame
  }

  /**
   * Decodes the content of a frame that `open` has returned.
   *
   * @param history  this end's
   * @param refuse  checks the payload of a sender with the same history; returns a description of
   *   the error, or null
   * @throws FrameError  with the byte where the error is
   */
  read(
    frame: Frame,
    history: Uint8Array,
    refuse: (sent: EdgePayload) => string | null,
  ): EdgeMessage {
    const [packed] = partsOf(frame)
    const sameHistory = equalBytes(frame.parent, history)
    const payloadOf = ({ words, floats }: EdgePayload) => ({
      words: words.subarray(HISTORY_WORDS),
      floats,
    })
    const part = unpackPart(packed!)
    const { length } = part.words
    let fault = sameHistory ? refuse(payloadOf(part)) : null
    if (length < HISTORY_WORDS) fault = `expected ${HISTORY_WORDS} words or more, got ${length}`
    if (fault !== null) throw partError(packed!, fault)
    return {
      checksum: frame.checksum,
      parent: frame.parent,
      previous: new Uint8Array(part.words.buffer, 0, 4 * HISTORY_WORDS),
      weight: part.weight,
      sent: payloadOf(part),
    }
  }

  #header(position: IterationPosition, parent: Uint8Array, weight: number, sender: number): Header {
    return {
      kind: 'gathered',
      type: this.#wire,
      ...position,
      configHash: this.#configHash,
      parent,
      weight,
      senders: Uint32Array.of(sender),
      ranks: this.#ranks,
      scalars: NO_FLOATS,
      total: 1,
      offset: 0,
      count: 1,
    }
  }
}

const NO_FLOATS = new Float32Array(0)
