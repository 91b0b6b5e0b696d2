// Encodes what a worker sends in a round into a frame, and checks that what it receives is the mean
// of that round.
import type { Outgoing } from '../algorithm.ts'
import type { Layout, Session, Slot } from '../backend.ts'
import { type Bytes, bytesOf, concatBytes, utf8 } from '../bytes.ts'
import { aggregate } from '../codec/aggregate.ts'
import { beginFrame, decodeFrame, type Frame, sealFrame } from '../codec/frame.ts'
import {
  type Gathering,
  type PackedPart,
  type Part,
  partsLength,
  partsOf,
  writeParts,
} from '../codec/gathered.ts'
import { AT, type Header, senderAt } from '../codec/header.ts'
import { assertAwaited } from '../codec/match.ts'
import { f32 } from '../codec/wire/f32.ts'
import { type Wire, wireType } from '../codec/wire/index.ts'
import { LIMIT } from '../codec/wire/wire-type.ts'
import { hash64 } from '../codec/xxh32.ts'
import { FrameError } from '../errors.ts'
import { type Task, wait } from '../gensync.ts'
import { hashedShapes, leftColumns, ranksIn, rawLengths, rightColumns } from '../layout.ts'
import { describe, type Settings, type Spec } from '../options.ts'

/** The header fields that identify a round. */
export interface RoundPosition {
  readonly step: number
  readonly round: number
  /** hash of all means so far; see `nextParent` */
  readonly parent: Uint8Array
}

/**
 * The header's `configHash`: of shapes, names and shared options, but not of ranks, which the header
 * lists.
 */
export function hashConfig(specs: readonly Spec[], settings: Settings): Uint8Array {
  const shapes = JSON.stringify(hashedShapes(specs))
  return hash64(utf8(`${shapes}\n${describe(settings)}`))
}

/** The `parent` after a mean: workers that have received different means have different parents. */
export function nextParent(parent: Uint8Array, mean: Frame): Uint8Array {
  const checksum = mean.bytes.subarray(AT.checksum, AT.version)
  return hash64(concatBytes([parent, checksum]))
}

/** The `parent` with a basis hashed in, for bases that may differ between workers. */
export function withBasis(parent: Uint8Array, basis: Float32Array): Uint8Array {
  return hash64(concatBytes([parent, bytesOf(basis)]))
}

/** What a worker takes from a mean. */
export interface Received {
  /** as an f32 frame */
  readonly frame: Frame
  /** of a gathered round: the parts that the method accepts, ascending by sender */
  readonly parts: readonly Part[]
  /** whether this worker's own frame is in the mean */
  readonly counted: boolean
  /** the sum of the senders' weights */
  readonly weight: number
  /** those whose values are in the mean */
  readonly senders: readonly number[]
  /** those whose parts the method does not accept */
  readonly refused: readonly number[]
}

/** Writes and checks the frames of one worker, which has one `configHash`, sender and wire type. */
export class Framing {
  readonly #configHash: Uint8Array
  readonly #sender: number
  readonly #wire: Wire
  /** with a lossy wire type: values before encoding, then as others will decode them */
  #scratch = new Float32Array(0)
  /** the rounding error of the last frame's raw values, for `settleRaw` */
  #rawError = new Float32Array(0)

  constructor(configHash: Uint8Array, sender: number, wire: Wire) {
    this.#configHash = configHash
    this.#sender = sender
    this.#wire = wire
  }

  /**
   * Allocates the scratch for a layout, so that steps do not allocate it.
   *
   * @returns a function that puts it in the place of the old one
   */
  reserve({ leftFloats, rightFloats, rawFloats }: Layout): () => void {
    const lossy = this.#wire !== 'f32'
    const scratch = new Float32Array(lossy ? Math.max(leftFloats, rightFloats) + rawFloats : 0)
    const rawError = new Float32Array(lossy ? rawFloats : 0)
    return () => {
      this.#scratch = scratch
      this.#rawError = rawError
    }
  }

  /**
   * Makes the frame of a round.
   *
   * With a lossy wire type, the factor slots (or the algorithm's own floats) are overwritten with
   * what others will decode, because the residual must be computed from that.
   *
   * @param weight  0: the frame has no sender, and its values are zeros
   * @param exact  true: send float32 whatever the wire type
   * @returns null if a value or a scalar is not finite, or not below 2⁶⁴: others would refuse the
   *   frame
   */
  *send(
    session: Session,
    layout: Layout,
    outgoing: Outgoing,
    position: RoundPosition,
    weight: number,
    exact: boolean,
  ): Task<{ bytes: Bytes; header: Header } | null> {
    const type = exact ? 'f32' : this.#wire
    const scalars = outgoing.scalars ?? new Float32Array(0)
    if (weight > 0 && !scalars.every((x) => Math.abs(x) < LIMIT)) return null
    const common = {
      type,
      ...position,
      configHash: this.#configHash,
      weight,
      senders: Uint32Array.from(weight > 0 ? [this.#sender] : []),
      ranks: Uint16Array.from(ranksIn(layout)),
      scalars: weight > 0 ? scalars : new Float32Array(scalars.length),
      offset: 0,
    }
    if ('gathered' in outgoing) {
      const header: Header = { kind: 'gathered', ...common, total: 1, count: 1 }
      const bytes = this.#gather(header, outgoing.gathered)
      return bytes && { bytes, header }
    }
    const columns = 'slots' in outgoing ? outgoing.slots.map((slot) => columnsOf(layout, slot)) : []
    const segments = 'slots' in outgoing ? columns.flat() : outgoing.summed.columns
    const count = sum(segments)
    const header: Header = { kind: 'summed', ...common, total: count, count }
    const wire = wireType(type)
    const { bytes, values, floats } = beginFrame(header, wire.encodedLength(segments))
    if (weight > 0) {
      // Slots in float32 are read into the frame itself.
      const source =
        'summed' in outgoing ? outgoing.summed.floats : (floats ?? this.#scratch.subarray(0, count))
      if ('slots' in outgoing) yield* wait(session.read(outgoing.slots, source))
      if (f32.firstInvalid(bytesOf(source), count) >= 0) return null
      if (source !== floats) wire.encode(source, segments, values)
      if ('summed' in outgoing) wire.decode(values, count, source)
      else if (!floats) this.#keepDecoded(session, outgoing.slots, columns.map(sum), type, values)
    } else if (!floats) {
      const zeros = 'slots' in outgoing ? this.#scratch.subarray(0, count) : new Float32Array(count)
      wire.encode(zeros.fill(0), segments, values)
    }
    sealFrame(bytes)
    return { bytes, header }
  }

  /** A gathered frame with this worker's part, or without parts if the weight is 0. */
  #gather(header: Header, gathering: Gathering): Bytes | null {
    const { weight, type } = header
    const own: PackedPart[] = []
    if (weight > 0) {
      const data = gathering.pack(type)
      if (data === null) return null
      own.push({ sender: this.#sender, weight, type, data })
    }
    const { bytes, values } = beginFrame(header, partsLength(own))
    writeParts(own, values)
    return sealFrame(bytes)
  }

  /**
   * Overwrites factor slots with the decoded values, and stores the rounding error of raw values.
   */
  #keepDecoded(
    session: Session,
    slots: readonly Slot[],
    counts: readonly number[],
    wire: Wire,
    values: Uint8Array,
  ): void {
    const raw = slots.indexOf('raw')
    const rawAt = raw < 0 ? 0 : sum(counts.slice(0, raw))
    if (raw >= 0) this.#rawError.set(this.#scratch.subarray(rawAt, rawAt + counts[raw]!))
    wireType(wire).decode(values, sum(counts), this.#scratch)
    for (const [i, slot] of slots.entries()) {
      const at = sum(counts.slice(0, i))
      const decoded = this.#scratch.subarray(at, at + counts[i]!)
      if (slot !== 'raw') session.write(slot, bytesOf(decoded))
      else for (let j = 0; j < decoded.length; j++) this.#rawError[j]! -= decoded[j]!
    }
  }

  /**
   * Sets M of raw parameters, after their frame has counted, to the rounding error of its values.
   */
  settleRaw(session: Session, exact: boolean): void {
    if (exact || this.#wire === 'f32') session.scale('raw', 0)
    else session.write('raw', bytesOf(this.#rawError))
  }

  /**
   * Checks the mean of a round against the frame that this worker sent in it, and decodes it.
   *
   * @param sent  the header of that frame
   * @param outgoing  what the algorithm yielded for it
   * @throws FrameError  if it is not a mean of this round
   */
  receive(mean: Uint8Array, sent: Header, outgoing: Outgoing): Received {
    const received = decodeFrame(mean, 'mean')
    const { senders } = received
    assertAwaited(sent, received)
    const present = sent.weight > 0
    // A mean from `fromPayload` names no senders: it contains every worker that sent something.
    const anonymous = received.weight > 0 && senders.length === 0
    const listed = senders.includes(this.#sender)
    if (listed && !present) {
      throw new FrameError(
        `"mean": contains sender ${this.#sender}, but this worker, which has that number, sent ` +
          'nothing: give each worker a number of its own, createCompressor(shapes, { sender })',
        senderAt(senders.indexOf(this.#sender)),
      )
    }
    // A worker that trains alone may pass its own frame: `aggregate` decodes it to float32.
    const frame = received.type === 'f32' ? received : decodeFrame(aggregate([mean]))
    // All workers refuse the same parts, for they decide by the same bytes.
    const parts: Part[] = []
    const refused = new Set<number>()
    if ('gathered' in outgoing) {
      const { gathered } = outgoing
      for (const part of partsOf(received).map((one) => gathered.unpack(one))) {
        if (gathered.accepts(part)) parts.push(part)
        else refused.add(part.sender)
      }
    }
    return {
      frame,
      parts,
      counted: present && (listed || anonymous) && !refused.has(this.#sender),
      weight: 'gathered' in outgoing ? sum(parts.map(({ weight }) => weight)) : frame.weight,
      senders: [...senders].filter((sender) => !refused.has(sender)),
      refused: [...refused],
    }
  }
}

/** The lengths of a slot's columns. The values of a column may share a scale on the wire. */
function columnsOf(layout: Layout, slot: Slot): number[] {
  if (slot === 'left') return leftColumns(layout)
  if (slot === 'raw') return rawLengths(layout)
  if (slot === 'residual') return layout.parameters.map(({ length }) => length)
  return rightColumns(layout)
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0)
}
