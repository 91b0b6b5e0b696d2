// Gathered rounds, in which every worker receives the parts of all workers: reads and writes the
// parts of a frame, and the data of a part.
//
// The header of a part is specified in header.ts. Its data are words that are sent unchanged, and
// floats in the encoding of a wire type:
//
//   0  u32  number of words
//   4  u32  number of floats
//   8       words, encoded floats, zeros up to a multiple of 4
import { bytesOf, dataView } from '../bytes.ts'
import { FrameError } from '../errors.ts'
import { AT, PART_AT } from './header.ts'
import { f32 } from './wire/f32.ts'
import { unknownType, type Wire, wireType, wireTypeOf } from './wire/index.ts'

/** Floats of an algorithm. Making the frame overwrites them with what other workers will decode. */
export interface Columns {
  readonly floats: Float32Array
  /** lengths of the columns, whose sum is `floats.length`. A column's values may share a scale */
  readonly columns: readonly number[]
}

/** One worker's contribution to a gathered round, decoded. */
export interface Part {
  readonly sender: number
  readonly weight: number
  /** sent unchanged: indices or bits, for example */
  readonly words: Uint32Array
  readonly floats: Float32Array
}

/** One worker's contribution to a gathered round, encoded. */
export interface PackedPart {
  readonly sender: number
  readonly weight: number
  /** the wire type of the floats in `data` */
  readonly type: Wire
  /** words and floats, in a multiple of 4 bytes: see the head of this file */
  readonly data: Uint8Array
}

/** A part of a received frame. Its data are a view of the frame, and have not been checked. */
export interface ReceivedPart extends PackedPart {
  /** the offset of the data in the frame */
  readonly at: number
}

/** How an algorithm encodes its own part of a round, and decodes the parts of all workers. */
export interface Gathering {
  /** Encodes this worker's data; null if a number is not finite, or not below 2⁶⁴. */
  pack(type: Wire): Uint8Array | null
  /** `unpackPart` */
  unpack(part: ReceivedPart): Part
  /**
   * Whether a worker's part is one that this method can use. One that it cannot counts as not sent,
   * so all workers must come to the same answer.
   */
  accepts(part: Part): boolean
}

/** The byte at which each field of a part's data begins. */
const DATA_AT = { words: 0, floats: 4, values: 8 } as const

/** Bytes of a part's data. @param encoded  bytes of its encoded floats */
export function dataLength(words: number, encoded: number): number {
  return DATA_AT.values + 4 * words + Math.ceil(encoded / 4) * 4
}

/** The data of a part without words and floats. */
export function emptyData(): Uint8Array {
  return new Uint8Array(DATA_AT.values)
}

/** Bytes of a part, its header included. @param data  bytes of its data */
export function partLength(data: number): number {
  return PART_AT.data + data
}

/** The words and floats of this worker's part. */
export type OwnPart = Columns & { readonly words: Uint32Array }

/**
 * Encodes the data of this worker's part.
 *
 * @param own  its floats are overwritten with what others will decode
 * @returns null if a float is not finite, or not below 2⁶⁴
 */
export function packData(type: Wire, { words, floats, columns }: OwnPart): Uint8Array | null {
  if (f32.firstInvalid(bytesOf(floats), floats.length) >= 0) return null
  const wire = wireType(type)
  const encoded = wire.encodedLength(columns)
  const data = new Uint8Array(dataLength(words.length, encoded))
  const view = dataView(data)
  view.setUint32(DATA_AT.words, words.length, true)
  view.setUint32(DATA_AT.floats, floats.length, true)
  data.set(bytesOf(words), DATA_AT.values)
  const at = DATA_AT.values + words.byteLength
  const values = data.subarray(at, at + encoded)
  wire.encode(floats, columns, values)
  if (type !== 'f32') wire.decode(values, floats.length, floats)
  return data
}

/** The error for a part of a received frame. @param byte  in the part's data */
export function partError({ sender, at }: ReceivedPart, what: string, byte = 0): FrameError {
  return new FrameError(`part of sender ${sender}: ${what}`, at + byte)
}

/**
 * Checks the data of a part, as far as that is possible without knowing the method.
 *
 * @returns null; or the error, with the byte in the frame
 */
export function faultIn(part: ReceivedPart): FrameError | null {
  const { data } = part
  const wire = wireType(part.type)
  const fault = (what: string, byte?: number) => partError(part, what, byte)
  if (data.length < DATA_AT.values) return fault(`got only ${data.length} bytes`)
  const view = dataView(data)
  const words = view.getUint32(DATA_AT.words, true)
  const floats = view.getUint32(DATA_AT.floats, true)
  const end = DATA_AT.values + 4 * words
  const values = data.subarray(Math.min(data.length, end))
  const encoded = wire.lengthIn(values, floats)
  if (encoded < 0 || dataLength(words, encoded) !== data.length) {
    return fault(`${words} words and ${floats} floats are not what ${data.length} bytes hold`)
  }
  const bad = wire.firstInvalid(values, floats)
  if (bad >= 0) return fault('a value is not finite, or not below 2⁶⁴', end + bad)
  const padding = values.subarray(encoded).findIndex((byte) => byte !== 0)
  return padding < 0 ? null : fault('padding: expected zero', end + encoded + padding)
}

/** Decodes a part. @throws FrameError  if `faultIn` finds a fault */
export function unpackPart(part: ReceivedPart): Part {
  const fault = faultIn(part)
  if (fault) throw fault
  const { sender, weight, type, data } = part
  const view = dataView(data)
  const end = DATA_AT.values + 4 * view.getUint32(DATA_AT.words, true)
  const floats = new Float32Array(view.getUint32(DATA_AT.floats, true))
  wireType(type).decode(data.subarray(end), floats.length, floats)
  return { sender, weight, words: new Uint32Array(data.slice(DATA_AT.values, end).buffer), floats }
}

/** The fields of a `Frame` that its parts are read from. */
interface GatheredValues {
  readonly senders: Uint32Array
  readonly values: Uint8Array
  readonly valuesAt: number
}

/** The parts of a decoded gathered frame, ascending by sender. */
export function partsOf({ senders, values, valuesAt }: GatheredValues): ReceivedPart[] {
  const view = dataView(values)
  const found: ReceivedPart[] = []
  let at = 0
  for (const sender of senders) {
    const begin = at + PART_AT.data
    const end = begin + view.getUint32(at + PART_AT.length, true)
    found.push({
      sender,
      weight: view.getFloat64(at + PART_AT.weight, true),
      type: wireTypeOf(view.getUint8(at + PART_AT.type))!.name,
      data: values.subarray(begin, end),
      at: valuesAt + begin,
    })
    at = end
  }
  return found
}

/** Bytes of these parts in a frame. */
export function partsLength(parts: readonly PackedPart[]): number {
  return parts.reduce((sum, { data }) => sum + partLength(data.length), 0)
}

/** Writes the parts in the given order, which must be that of the senders in the header. */
export function writeParts(parts: readonly PackedPart[], into: Uint8Array): void {
  const view = dataView(into)
  let at = 0
  for (const { weight, type, data } of parts) {
    view.setFloat64(at + PART_AT.weight, weight, true)
    view.setUint32(at + PART_AT.length, data.length, true)
    view.setUint8(at + PART_AT.type, wireType(type).id)
    into.set(data, at + PART_AT.data)
    at += partLength(data.length)
  }
}

/** Checks the headers of a frame's parts, and that the parts fill the frame. @throws FrameError */
export function checkParts(frame: GatheredValues & { readonly weight: number }): void {
  const { values, valuesAt, senders, weight } = frame
  const view = dataView(values)
  let at = 0
  let sum = 0
  for (let i = 0; i < senders.length; i++) {
    if (at + PART_AT.data > values.length) {
      throw new FrameError(`part ${i}: the frame ends before it does`, valuesAt + values.length)
    }
    const part = view.getFloat64(at + PART_AT.weight, true)
    if (!(part > 0 && Number.isFinite(part) && Math.fround(part) === part)) {
      throw new FrameError(`part ${i}, weight: expected a float32 > 0, got ${part}`, valuesAt + at)
    }
    sum += part
    const length = view.getUint32(at + PART_AT.length, true)
    const most = values.length - at - PART_AT.data
    if (length % 4 !== 0 || length > most) {
      throw new FrameError(
        `part ${i}, length: expected a multiple of 4 up to ${most}, got ${length}`,
        valuesAt + at + PART_AT.length,
      )
    }
    const type = view.getUint32(at + PART_AT.type, true) // with the three bytes of zeros after it
    if (wireTypeOf(type) === undefined) {
      const padded = type > 0xff
      const problem = padded ? 'padding: expected zero' : unknownType(type)
      const byte = padded ? PART_AT.padding : PART_AT.type
      throw new FrameError(`part ${i}, ${problem}`, valuesAt + at + byte)
    }
    at += partLength(length)
  }
  if (at < values.length) throw new FrameError('bytes after the last part', valuesAt + at)
  if (sum !== weight) {
    throw new FrameError(`weight: the parts' sum is ${sum}, the frame says ${weight}`, AT.weight)
  }
}
