// Between slots and frames: what a worker sends in a round as bytes, and whether what it is given
// is the mean of that round.
import type { Outgoing } from '../algorithm.ts'
import type { Layout, Session, Slot } from '../backend.ts'
import { bytesOf, concatBytes } from '../bytes.ts'
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
import { assertSameCut } from '../codec/match.ts'
import { f32 } from '../codec/wire/f32.ts'
import { type Wire, wireType } from '../codec/wire/index.ts'
import { hash64 } from '../codec/xxh32.ts'
import { FrameError } from '../errors.ts'
import { type Task, wait } from '../gensync.ts'
import { leftColumns, rawLengths, rightColumns } from '../layout.ts'
import { describe, type Settings, type Spec } from '../options.ts'

/** What stands in the headers of a round's frames. */
export interface RoundPosition {
  readonly step: number
  readonly round: number
  /** hash of the history of means; see `nextParent` */
  readonly parent: Uint8Array
}

/** Hash of what all workers must have in common; the ranks travel beside it. */
export function hashConfig(specs: readonly Spec[], settings: Settings): Uint8Array {
  const shapes = JSON.stringify(specs.map(({ shape, rows }) => [rows, ...shape]))
  return hash64(new TextEncoder().encode(`${shapes}\n${describe(settings)}`))
}

/** The parent after a mean: whoever has received other means has another one. */
export function nextParent(parent: Uint8Array, mean: Frame): Uint8Array {
  const checksum = mean.bytes.subarray(AT.checksum, AT.version)
  return hash64(concatBytes(parent, checksum))
}

/** The parent of workers that have computed this basis: not the same for all by itself. */
export function withBasis(parent: Uint8Array, basis: Float32Array): Uint8Array {
  return hash64(concatBytes(parent, bytesOf(basis)))
}

/** One worker's frames: it knows what the fleet agreed on, its own number and its own wire type. */
export class Framing {
  readonly #configHash: Uint8Array
  readonly #sender: number
  readonly #wire: Wire
  /** Values as read and as others will decode them, for lossy wires. */
  #scratch = new Float32Array(0)
  /** What the last frame of raw values lost in encoding, for `settleRaw`. */
  #lost = new Float32Array(0)

  constructor(configHash: Uint8Array, sender: number, wire: Wire) {
    this.#configHash = configHash
    this.#sender = sender
    this.#wire = wire
  }

  /** Makes room for a plan's rounds, so that steps need none. */
  reserve(layout: Layout): void {
    if (this.#wire === 'f32') return
    this.#scratch = new Float32Array(
      Math.max(layout.leftFloats, layout.rightFloats) + layout.rawFloats,
    )
    this.#lost = new Float32Array(layout.rawFloats)
  }

  /**
   * The frame of a round.
   *
   * With a lossy wire, factor slots and floats hold afterwards what others will decode: the residual
   * must be taken from that.
   *
   * @param weight  0: it has no sender, and zeros for values
   * @param exact  send float32 whatever the wire
   * @returns null if a value is not finite: such a frame must not leave
   */
  *send(
    session: Session,
    layout: Layout,
    outgoing: Outgoing,
    position: RoundPosition,
    weight: number,
    exact: boolean,
  ): Task<{ bytes: Uint8Array; header: Header } | null> {
    const type = exact ? 'f32' : this.#wire
    const scalars = outgoing.scalars ?? new Float32Array(0)
    if (weight > 0 && !scalars.every(Number.isFinite)) return null
    const common = {
      type,
      ...position,
      configHash: this.#configHash,
      weight,
      senders: Uint32Array.from(weight > 0 ? [this.#sender] : []),
      ranks: Uint16Array.from(layout.parameters, ({ rank }) => rank),
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
    const { bytes, values } = beginFrame(header, wire.encodedLength(segments))
    if ('summed' in outgoing) {
      const { floats } = outgoing.summed
      const sent = weight > 0 ? floats : new Float32Array(count)
      if (f32.firstInvalid(bytesOf(sent), count) >= 0) return null
      wire.encode(sent, segments, values)
      if (weight > 0) wire.decode(values, count, floats)
    } else if (type === 'f32') {
      if (weight > 0) {
        const floats = new Float32Array(values.buffer, values.byteOffset, count)
        yield* wait(session.read(outgoing.slots, floats))
        if (f32.firstInvalid(values, count) >= 0) return null
      }
    } else {
      const scratch = this.#scratch.subarray(0, count)
      if (weight > 0) yield* wait(session.read(outgoing.slots, scratch))
      else scratch.fill(0)
      if (f32.firstInvalid(bytesOf(scratch), count) >= 0) return null
      wire.encode(scratch, segments, values)
      if (weight > 0) this.#keepDecoded(session, outgoing.slots, columns.map(sum), type, values)
    }
    sealFrame(bytes)
    return { bytes, header }
  }

  /** A frame with this worker's part; with none if it is absent. */
  #gather(header: Header, gathering: Gathering): Uint8Array | null {
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

  /** Puts into the slots what the frame says, and keeps what raw values lost. */
  #keepDecoded(
    session: Session,
    slots: readonly Slot[],
    counts: readonly number[],
    wire: Wire,
    values: Uint8Array,
  ): void {
    const raw = slots.indexOf('raw')
    const rawAt = raw < 0 ? 0 : sum(counts.slice(0, raw))
    if (raw >= 0) this.#lost.set(this.#scratch.subarray(rawAt, rawAt + counts[raw]!))
    wireType(wire).decode(values, sum(counts), this.#scratch)
    for (const [i, slot] of slots.entries()) {
      const at = sum(counts.slice(0, i))
      const decoded = this.#scratch.subarray(at, at + counts[i]!)
      if (slot !== 'raw') session.write(slot, bytesOf(decoded))
      else for (let j = 0; j < decoded.length; j++) this.#lost[j] = this.#lost[j]! - decoded[j]!
    }
  }

  /** Raw parameters after their frame has counted: nothing is left, but for what encoding lost. */
  settleRaw(session: Session, exact: boolean): void {
    if (exact || this.#wire === 'f32') session.scale('raw', 0)
    else session.write('raw', bytesOf(this.#lost))
  }

  /**
   * The mean of a round, checked against the frame that this worker sent in it.
   *
   * @param outgoing  what the method had for that frame
   * @returns the mean as float32, or the parts, and whether the worker's own frame is in it
   * @throws FrameError
   */
  receive(
    mean: Uint8Array,
    sent: Header,
    outgoing: Outgoing,
  ): { frame: Frame; parts: readonly Part[]; counted: boolean } {
    const given = decodeFrame(mean)
    assertSameCut(sent, given)
    const present = sent.weight > 0
    // Means from engines that sum by themselves name nobody: whoever sent something is in them.
    const anonymous = given.weight > 0 && given.senders.length === 0
    const listed = given.senders.includes(this.#sender)
    if (listed && !present) {
      throw new FrameError(
        `"mean": contains sender ${this.#sender}, but this worker, which has that number, sent ` +
          'nothing: give each worker a number of its own, createCompressor(shapes, { sender })',
        senderAt(given.senders.indexOf(this.#sender)),
      )
    }
    // A lone worker may give its own frame: what others would have received is the float32 of it.
    const frame = given.type === 'f32' ? given : decodeFrame(aggregate([mean]))
    const counted = present && (listed || anonymous)
    const parts =
      'gathered' in outgoing ? partsOf(given).map((part) => outgoing.gathered.unpack(part)) : []
    return { frame, parts, counted }
  }
}

/** Lengths of the columns that make up a slot: values that may share a scale on the wire. */
function columnsOf(layout: Layout, slot: Slot): number[] {
  switch (slot) {
    case 'left':
      return leftColumns(layout)
    case 'qLocal':
    case 'qHat':
    case 'qMean':
      return rightColumns(layout)
    case 'raw':
      return rawLengths(layout)
    case 'residual':
      return layout.parameters.map(({ length }) => length)
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0)
}
