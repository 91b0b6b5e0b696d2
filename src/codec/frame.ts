import { FrameError } from '../errors.ts'
import { checkHeader, checkLengths } from './check.ts'
import { AT, FIXED, headerLength, KINDS, type Kind, MAGIC, VERSION } from './fields.ts'
import { firstNotFinite, WIRES, type Wire } from './floats.ts'
import { dataView } from './near.ts'
import { xxh32 } from './xxh32.ts'

export { FIXED, headerLength, type Kind } from './fields.ts'

/**
 * One message of one round, as bytes. Little-endian throughout.
 *
 *   byte  size  field
 *      0     4  magic     "LRGC"
 *      4     4  checksum  XXH32, seed 0, of all bytes from 8 to the end
 *      8     1  version   1
 *      9     1  kind      0: values are summed   1: values are gathered
 *     10     1  type      0: f32   1: f16   2: bf16   3: int8; gathered: 0
 *     11     1  round     0, 1, …
 *     12     4  step      so that late frames are seen as late
 *     16     8  layout    hash of shapes and agreed options
 *     24     8  parent    hash of the bits that the values were computed with
 *     32     8  weight    f64: sum of the senders' weights; 0, or 2⁻¹⁴⁹ … 2¹⁶⁰ (the sums that 2³²
 *                         float32 can have), so that value · weight neither overflows nor vanishes
 *     40     4  senders   how many; 0 if weight is 0
 *     44     4  ranks     how many: the number of parameters
 *     48     4  scalars   how many; 0 if offset is not 0
 *     52     4  total     summed: values of the whole frame      gathered: number of slices, ≥ 1
 *     56     4  offset    summed: index of this slice's first    gathered: index of this slice
 *     60     4  count     summed: values in this slice           gathered: 1
 *     64     4  each sender: u32, strictly ascending
 *      …     4  each scalar: f32, finite; weighted means, like values
 *      …     2  each rank: u16, in force for that parameter; 0: raw
 *      …     2  zero, if the number of ranks is odd
 *      …     …  values, from a multiple of 4 to the end of the frame
 *
 * Summed values are means over the senders, by weight, and finite:
 *
 *   f32         4 bytes each
 *   f16, bf16   2 bytes each; no padding follows
 *   int8        blocks: u8 n − 1 (n is 1 … 64), f32 scale, n signed bytes; value = scale · byte, as
 *               float32. A scale is ≥ 0, and so small that 128 of them do not overflow. Blocks end
 *               where columns and slices end, which the encoder knows and the decoder need not.
 *
 * count is 0 only if total is. With weight 0 all values (int8: scales) are zero: the frame of a
 * worker that does not contribute, or a mean of nobody. A weight without senders is an anonymous
 * mean (`fromPayload`); it cannot be aggregated.
 *
 * Gathered values are one part for each sender, in the same order, with at least one sender if
 * weight is not 0. The parts' weights, added in this order in float64, are the frame's weight.
 *
 *   byte  size  field of a part
 *      0     8  weight    f64: a float32 > 0
 *      8     4  length    of the data in bytes, a multiple of 4
 *     12     1  type      how the data's floats are encoded, as above
 *     13     3  zero
 *     16     …  data      the method's own; the codec does not look into it
 *
 * A slice of a gathered frame has of each part's data, w words long, the next ⌊w / total⌋ words, and
 * one more if offset < w mod total.
 *
 * A change of meaning takes a new version. Readers refuse versions they do not know, and allocate
 * only after every count has been checked against the bytes at hand.
 */
export interface Header {
  readonly kind: Kind
  readonly type: Wire
  readonly round: number
  readonly step: number
  /** 8 bytes */
  readonly layout: Uint8Array
  /** 8 bytes */
  readonly parent: Uint8Array
  readonly weight: number
  readonly senders: Uint32Array
  readonly ranks: Uint16Array
  readonly scalars: Float32Array
  readonly total: number
  readonly offset: number
  readonly count: number
}

/** A frame that has passed every check. `bytes` and `values` are views of what was given. */
export interface Frame extends Header {
  readonly bytes: Uint8Array
  readonly checksum: number
  /** the encoded values; `decode` of floats.ts reads them, `parts` if they are gathered */
  readonly values: Uint8Array
  /** where they begin in `bytes` */
  readonly valuesAt: number
}

/** A frame that is being written: fill `values` (or `floats`, the same bytes), then `sealFrame`. */
export interface Draft {
  readonly bytes: Uint8Array
  readonly values: Uint8Array
  /** for f32 frames of kind summed: the values, as floats */
  readonly floats?: Float32Array
}

/**
 * Reads a frame from outside; nothing in it is trusted. Allocates the header's fields only, after
 * every check.
 *
 * @param bytes  at any offset in its buffer
 * @throws TypeError  if this is no Uint8Array
 * @throws FrameError  with the byte of the first field that is wrong
 */
export function decodeFrame(bytes: Uint8Array): Frame {
  const frame = openFrame(bytes)
  checkFloats(frame)
  return frame
}

/** `decodeFrame` without `checkFloats`, for who finds out about the values while using them. */
export function openFrame(bytes: Uint8Array): Frame {
  const own = viewOf(bytes)
  const view = dataView(own)
  const valuesAt = checkHeader(view)
  const checksum = view.getUint32(AT.checksum, true)
  const sum = xxh32(own.subarray(AT.version))
  if (checksum !== sum) {
    const [got, want] = [checksum, sum].map((word) => word.toString(16).padStart(8, '0'))
    throw new FrameError(`checksum: the bytes give ${want}, the frame says ${got}`, AT.checksum)
  }
  const values = own.subarray(valuesAt)
  checkLengths(view, values, valuesAt)
  return { ...fields(view), bytes: own, checksum, values, valuesAt }
}

/** @throws FrameError  if a summed value is not finite, or, with weight 0, not zero */
export function checkFloats({ kind, type, values, count, weight, valuesAt }: Frame): void {
  if (kind === 'gathered') return
  const bad = firstNotFinite(type, values, count, weight === 0)
  if (bad < 0) return
  const what = weight === 0 ? 'weight 0, but a value that is not' : 'a value is not finite'
  throw new FrameError(what, valuesAt + bad)
}

/**
 * Reads the header alone: its structure is checked, and the length where the header says it, but
 * neither checksum nor values, so that the time does not depend on the frame's size.
 *
 * @throws TypeError  if this is no Uint8Array
 * @throws FrameError  with the byte of the first field that is wrong
 */
export function readHeader(bytes: Uint8Array): Header {
  const view = dataView(viewOf(bytes))
  checkHeader(view)
  return fields(view)
}

/**
 * Allocates a frame and writes all but its values and checksum. The values begin at a multiple of 4
 * in a buffer of its own.
 *
 * @param header  trusted: what is written must be able to pass `decodeFrame`
 * @param length  bytes of the values: `encodedLength` of floats.ts, or of the parts
 */
export function beginFrame(header: Header, length: number): Draft {
  const { senders, scalars, ranks } = header
  const valuesAt = headerLength(senders.length, ranks.length, scalars.length)
  const bytes = new Uint8Array(valuesAt + length)
  const view = dataView(bytes)
  view.setUint32(AT.magic, MAGIC, true)
  view.setUint8(AT.version, VERSION)
  view.setUint8(AT.kind, KINDS.indexOf(header.kind))
  view.setUint8(AT.type, header.kind === 'gathered' ? 0 : WIRES.indexOf(header.type))
  view.setUint8(AT.round, header.round)
  view.setUint32(AT.step, header.step, true)
  bytes.set(header.layout, AT.layout)
  bytes.set(header.parent, AT.parent)
  view.setFloat64(AT.weight, header.weight, true)
  view.setUint32(AT.senders, senders.length, true)
  view.setUint32(AT.ranks, ranks.length, true)
  view.setUint32(AT.scalars, scalars.length, true)
  view.setUint32(AT.total, header.total, true)
  view.setUint32(AT.offset, header.offset, true)
  view.setUint32(AT.count, header.count, true)
  const scalarsAt = FIXED + 4 * senders.length
  new Uint32Array(bytes.buffer, FIXED, senders.length).set(senders)
  new Float32Array(bytes.buffer, scalarsAt, scalars.length).set(scalars)
  new Uint16Array(bytes.buffer, scalarsAt + 4 * scalars.length, ranks.length).set(ranks)
  const values = bytes.subarray(valuesAt)
  if (header.kind === 'gathered' || header.type !== 'f32') return { bytes, values }
  return { bytes, values, floats: new Float32Array(bytes.buffer, valuesAt, header.count) }
}

/** Writes the checksum: the last step of making a frame. Returns its argument. */
export function sealFrame(bytes: Uint8Array): Uint8Array {
  dataView(bytes).setUint32(AT.checksum, xxh32(bytes.subarray(AT.version)), true)
  return bytes
}

/** A plain Uint8Array over the same bytes: a Buffer's `slice`, say, is not what it is elsewhere. */
export function viewOf(bytes: Uint8Array): Uint8Array {
  // Not instanceof: a frame may come from another realm (an iframe, a test runner's sandbox).
  if (Object.prototype.toString.call(bytes) !== '[object Uint8Array]') {
    throw new TypeError(`a frame: expected a Uint8Array, got ${named(bytes)}`)
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** The header's fields, as copies: the bytes may be the transport's to use again. */
function fields(view: DataView): Header {
  const senders = view.getUint32(AT.senders, true)
  const scalars = view.getUint32(AT.scalars, true)
  const ranks = view.getUint32(AT.ranks, true)
  const length = headerLength(senders, ranks, scalars)
  const { buffer } = new Uint8Array(view.buffer, view.byteOffset, length).slice()
  const scalarsAt = FIXED + 4 * senders
  return {
    kind: KINDS[view.getUint8(AT.kind)]!,
    type: WIRES[view.getUint8(AT.type)]!,
    round: view.getUint8(AT.round),
    step: view.getUint32(AT.step, true),
    layout: new Uint8Array(buffer, AT.layout, 8),
    parent: new Uint8Array(buffer, AT.parent, 8),
    weight: view.getFloat64(AT.weight, true),
    senders: new Uint32Array(buffer, FIXED, senders),
    scalars: new Float32Array(buffer, scalarsAt, scalars),
    ranks: new Uint16Array(buffer, scalarsAt + 4 * scalars, ranks),
    total: view.getUint32(AT.total, true),
    offset: view.getUint32(AT.offset, true),
    count: view.getUint32(AT.count, true),
  }
}

function named(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1)
}
