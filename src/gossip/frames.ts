// Frames of edges: kind gathered, one part, the sender's. Its weight is the sender's weight of the edge,
// its first two words are the history before the sender's last exchange (zeros: it has none to take back).
import type { Layout } from '../backend.ts'
import { equalBytes } from '../bytes.ts'
import { beginFrame, decodeFrame, type Frame, sealFrame } from '../codec/frame.ts'
import { type Columns, gathering, partsLength, partsOf, writeParts } from '../codec/gathered.ts'
import { type Header, senderAt } from '../codec/header.ts'
import { assertSameCut } from '../codec/match.ts'
import type { Wire } from '../codec/wire/index.ts'
import { hash64 } from '../codec/xxh32.ts'
import { FrameError } from '../errors.ts'
import type { Spec } from '../options.ts'
import type { EdgePayload } from './compression.ts'
import type { GossipMethod } from './method.ts'

/** Where an iteration stands. */
export interface IterationPosition {
  readonly step: number
  readonly round: number
}

/** What an end says in a half-step. */
export interface EdgeMessage {
  readonly checksum: number
  /** the sender's history, and that before its last exchange */
  readonly parent: Uint8Array
  readonly previous: Uint8Array
  readonly weight: number
  readonly sent: EdgePayload
}

/** In front of an end's own words: the history before its last exchange. */
export const HISTORY_WORDS = 2

const NONE = new Uint8Array(4 * HISTORY_WORDS)

/** Makes and reads the frames of one node. */
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
    const shapes = specs.map(({ shape, rows }) => [rows, ...shape])
    const shared = JSON.stringify([shapes, method.name, method.options, seed])
    this.#configHash = hash64(new TextEncoder().encode(shared))
    this.#self = self
    this.#wire = wire
    this.#ranks = Uint16Array.from(layout.parameters, ({ rank }) => rank)
  }

  get configHash(): Uint8Array {
    return this.#configHash
  }

  /**
   * @param own  the floats hold afterwards what the other end will decode
   * @returns null if a number is not finite
   */
  write(
    position: IterationPosition,
    parent: Uint8Array,
    previous: Uint8Array | null,
    weight: number,
    own: EdgePayload & Columns,
  ): Uint8Array | null {
    const words = new Uint32Array(HISTORY_WORDS + own.words.length)
    words.set(new Uint32Array((previous ?? NONE).slice().buffer))
    words.set(own.words, HISTORY_WORDS)
    const data = gathering({ ...own, words }, () => null).pack(this.#wire)
    if (data === null) return null
    const part = { sender: this.#self, weight, type: this.#wire, data }
    const header = this.#header(position, parent, weight, this.#self)
    const { bytes, values } = beginFrame(header, partsLength([part]))
    writeParts([part], values)
    return sealFrame(bytes)
  }

  /** @throws FrameError  unless it is a frame, from this sender, of the same shapes and options */
  open(bytes: Uint8Array, sender: number): Frame {
    const frame = decodeFrame(bytes)
    const { step, round, parent, weight } = frame
    assertSameCut(this.#header({ step, round }, parent, weight, sender), frame)
    const [got] = frame.senders
    if (frame.senders.length !== 1 || got !== sender) {
      throw new FrameError(
        `senders: expected ${sender} alone, got ${[...frame.senders]}`,
        senderAt(0),
      )
    }
    return frame
  }

  /**
   * @param history  that of this end
   * @param refuse  what is wrong with what one of the same history sent
   * @throws FrameError  with the byte of what is wrong
   */
  read(
    frame: Frame,
    history: Uint8Array,
    refuse: (sent: EdgePayload) => string | null,
  ): EdgeMessage {
    const [packed] = partsOf(frame)
    const like = equalBytes(frame.parent, history)
    const sentIn = ({ words, floats }: EdgePayload) => ({
      words: words.subarray(HISTORY_WORDS),
      floats,
    })
    const none = { words: new Uint32Array(0), floats: NOTHING, columns: [] }
    const part = gathering(none, (part) => {
      if (part.words.length < HISTORY_WORDS)
        return `expected ${HISTORY_WORDS} words or more, got ${part.words.length}`
      return like ? refuse(sentIn(part)) : null
    }).unpack(packed!)
    return {
      checksum: frame.checksum,
      parent: frame.parent,
      previous: new Uint8Array(part.words.buffer, 0, 4 * HISTORY_WORDS),
      weight: part.weight,
      sent: sentIn(part),
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
      scalars: NOTHING,
      total: 1,
      offset: 0,
      count: 1,
    }
  }
}

const NOTHING = new Float32Array(0)
