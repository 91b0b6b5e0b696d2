// What a worker puts into a frame that is gathered: words as they are, and floats that its wire type
// encodes. Bytes of others are not trusted.
//
//   0  u32 number of words │ 4  u32 number of floats │ 8  words │ encoded floats │ zeros to a multiple of 4
import { bytesOf } from './bytes.ts'
import {
  blocksLength,
  decode,
  encode,
  encodedLength,
  firstNotFinite,
  type Wire,
} from './codec/floats.ts'
import { FrameError } from './errors.ts'
import type { Columns, Gathering, PackedPart, Part } from './seam.ts'

const HEAD = 8

/** Bytes of a part's data. @param encoded  bytes that its floats take */
export function dataLength(words: number, encoded: number): number {
  return HEAD + 4 * words + Math.ceil(encoded / 4) * 4
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
    pack: (type) => pack(type as Wire, own.words, own),
    unpack: (part) => unpack(part, refuse),
  }
}

function pack(wire: Wire, words: Uint32Array, { floats, columns }: Columns): Uint8Array | null {
  if (firstNotFinite('f32', bytesOf(floats), floats.length) >= 0) return null
  const encoded = encodedLength(wire, columns)
  const data = new Uint8Array(dataLength(words.length, encoded))
  const view = new DataView(data.buffer)
  view.setUint32(0, words.length, true)
  view.setUint32(4, floats.length, true)
  data.set(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), HEAD)
  const at = HEAD + words.byteLength
  const values = data.subarray(at, at + encoded)
  encode(wire, floats, columns, values)
  if (wire !== 'f32') decode(wire, values, floats.length, floats)
  return data
}

function unpack(packed: PackedPart, refuse: (part: Part) => string | null): Part {
  const { sender, weight, data, at } = packed
  const type = packed.type as Wire
  const fail = (what: string, byte = 0) =>
    new FrameError(`part of sender ${sender}: ${what}`, at + byte)
  if (data.length < HEAD) throw fail(`expected ${HEAD} bytes or more, got ${data.length}`)
  const view = new DataView(data.buffer, data.byteOffset, data.length)
  const [words, floats] = [view.getUint32(0, true), view.getUint32(4, true)]
  const end = HEAD + 4 * words
  const rest = data.subarray(Math.min(data.length, end))
  const taken = encodedIn(type, rest, floats)
  if (taken < 0 || dataLength(words, taken) !== data.length) {
    throw fail(`${words} words and ${floats} floats are not what ${data.length} bytes hold`)
  }
  const bad = firstNotFinite(type, rest, floats)
  if (bad >= 0) throw fail('a value is not finite', end + bad)
  const padding = rest.subarray(taken).findIndex((byte) => byte !== 0)
  if (padding >= 0) throw fail('padding: expected zero', end + taken + padding)
  const part = {
    sender,
    weight,
    words: new Uint32Array(data.slice(HEAD, end).buffer),
    floats: new Float32Array(floats),
  }
  decode(type, rest, floats, part.floats)
  const wrong = refuse(part)
  if (wrong !== null) throw fail(wrong)
  return part
}

/** Bytes that so many encoded values take; a negative number if they are not there. */
function encodedIn(wire: Wire, bytes: Uint8Array, count: number): number {
  if (wire === 'int8') return blocksLength(bytes, count)
  const length = encodedLength(wire, [count])
  return length <= bytes.length ? length : -1
}
