// Rounds in which everyone gets everyone's part: parts in a frame, and what is in a part.
//
// The head of a part is in the table of header.ts. Its data are words that travel as they are, and floats
// that a wire type encodes:
//
//   0  u32 number of words │ 4  u32 number of floats │ 8  words │ encoded floats │ zeros to a multiple of 4
import { bytesOf, dataView } from '../bytes.ts'
import { FrameError } from '../errors.ts'
import { AT, PART_AT } from './header.ts'
import { f32 } from './wire/f32.ts'
import { type Wire, wireType, wireTypeOf } from './wire/index.ts'

/** Floats of the algorithm's own. Once their frame has been made, they are what others will decode. */
export interface Columns {
  readonly floats: Float32Array
  /** lengths that sum to theirs: what may share a scale on the wire */
  readonly columns: readonly number[]
}

/** One worker's contribution to a gathered round. */
export interface Part {
  readonly sender: number
  readonly weight: number
  /** sent as they are: indices, bits */
  readonly words: Uint32Array
  readonly floats: Float32Array
}

/** A part as bytes. */
export interface PackedPart {
  readonly sender: number
  readonly weight: number
  /** how the floats in `data` are encoded */
  readonly type: Wire
  /** the method's own bytes, as many as a multiple of 4 */
  readonly data: Uint8Array
}

/** A part in a frame; its data, a view of the frame, are not checked yet. */
export interface ReceivedPart extends PackedPart {
  /** where the data begin in the frame */
  readonly at: number
}

/** How a method's part of a round is written, and how those of others are read. */
export interface Gathering {
  /** This worker's own data for a wire type; null if a number is not finite. */
  pack(type: Wire): Uint8Array | null
  /** @throws FrameError  with the byte in the frame of what is wrong with it */
  unpack(part: ReceivedPart): Part
}

/** Where the fields of a part's data lie. */
const DATA_AT = { words: 0, floats: 4, values: 8 } as const

/** Bytes of a part's data. @param encoded  bytes that its floats take */
export function dataLength(words: number, encoded: number): number {
  return DATA_AT.values + 4 * words + Math.ceil(encoded / 4) * 4
}

/** Bytes of a part with so much data. */
export function partLength(data: number): number {
  return PART_AT.data + data
}

/**
 * A round in which everyone gets everyone's words and floats.
 *
 * @param own  of this worker; the floats hold what others will decode, once the frame has been made
 * @param refuse  what is wrong with another worker's part, whose floats are finite; null: nothing
 */
export function gathering(
  own: Columns & { readonly words: Uint32Array },
  refuse: (part: Part) => string | null,
): Gathering {
  return {
    pack: (type) => packData(type, own.words, own),
    unpack: (part) => unpackPart(part, refuse),
  }
}

function packData(type: Wire, words: Uint32Array, { floats, columns }: Columns): Uint8Array | null {
  if (f32.firstInvalid(bytesOf(floats), floats.length) >= 0) return null
  const wire = wireType(type)
  const encoded = wire.encodedLength(columns)
  const data = new Uint8Array(dataLength(words.length, encoded))
  const view = dataView(data)
  view.setUint32(DATA_AT.words, words.length, true)
  view.setUint32(DATA_AT.floats, floats.length, true)
  data.set(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), DATA_AT.values)
  const at = DATA_AT.values + words.byteLength
  const values = data.subarray(at, at + encoded)
  wire.encode(floats, columns, values)
  if (type !== 'f32') wire.decode(values, floats.length, floats)
  return data
}

function unpackPart(packed: ReceivedPart, refuse: (part: Part) => string | null): Part {
  const { sender, weight, data, at } = packed
  const wire = wireType(packed.type)
  const fail = (what: string, byte = 0) =>
    new FrameError(`part of sender ${sender}: ${what}`, at + byte)
  if (data.length < DATA_AT.values) {
    throw fail(`expected ${DATA_AT.values} bytes or more, got ${data.length}`)
  }
  const view = dataView(data)
  const words = view.getUint32(DATA_AT.words, true)
  const floats = view.getUint32(DATA_AT.floats, true)
  const end = DATA_AT.values + 4 * words
  const rest = data.subarray(Math.min(data.length, end))
  const taken = wire.lengthIn(rest, floats)
  if (taken < 0 || dataLength(words, taken) !== data.length) {
    throw fail(`${words} words and ${floats} floats are not what ${data.length} bytes hold`)
  }
  const bad = wire.firstInvalid(rest, floats)
  if (bad >= 0) throw fail('a value is not finite', end + bad)
  const padding = rest.subarray(taken).findIndex((byte) => byte !== 0)
  if (padding >= 0) throw fail('padding: expected zero', end + taken + padding)
  const part = {
    sender,
    weight,
    words: new Uint32Array(data.slice(DATA_AT.values, end).buffer),
    floats: new Float32Array(floats),
  }
  wire.decode(rest, floats, part.floats)
  const wrong = refuse(part)
  if (wrong !== null) throw fail(wrong)
  return part
}

/** Of a decoded frame, as much as its parts need. */
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

/** Bytes that these parts take. */
export function partsLength(parts: readonly PackedPart[]): number {
  return parts.reduce((sum, { data }) => sum + partLength(data.length), 0)
}

/** Writes the parts, in the order given, which must be the senders'. */
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

/** Checks how a frame's values are divided into parts. @throws FrameError */
export function checkParts(frame: GatheredValues & { readonly weight: number }): void {
  const { values, valuesAt, senders, weight } = frame
  const view = dataView(values)
  let at = 0
  let sum = 0
  for (let i = 0; i < senders.length; i++) {
    if (at + PART_AT.data > values.length) {
      throw new FrameError(`part ${i}: the frame ends before it does`, valuesAt + values.length)
    }
    const own = view.getFloat64(at + PART_AT.weight, true)
    if (!(own > 0 && Number.isFinite(own) && Math.fround(own) === own)) {
      throw new FrameError(`part ${i}, weight: expected a float32 > 0, got ${own}`, valuesAt + at)
    }
    sum += own
    const length = view.getUint32(at + PART_AT.length, true)
    const most = values.length - at - PART_AT.data
    if (length % 4 !== 0 || length > most) {
      throw new FrameError(
        `part ${i}, length: expected a multiple of 4 up to ${most}, got ${length}`,
        valuesAt + at + PART_AT.length,
      )
    }
    const tail = view.getUint32(at + PART_AT.type, true) // type, and three bytes of zero above it
    if (wireTypeOf(tail) === undefined) {
      const byte = tail > 0xff ? PART_AT.padding : PART_AT.type
      throw new FrameError(`part ${i}: unknown type, or padding not zero`, valuesAt + at + byte)
    }
    at += partLength(length)
  }
  if (at < values.length) throw new FrameError('bytes after the last part', valuesAt + at)
  if (sum !== weight) {
    throw new FrameError(`weight: the parts' sum is ${sum}, the frame says ${weight}`, AT.weight)
  }
}
