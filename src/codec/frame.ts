import { FrameError } from '../errors.ts'
import { AT, FIXED, MAX_WEIGHT, MIN_WEIGHT, VERSION } from './fields.ts'
import { blocksLength, firstNotFinite, valueBytes, WIRES, type Wire } from './floats.ts'
import { checkParts, PART_HEAD } from './parts.ts'
import { xxh32 } from './xxh32.ts'

export { hex, sameStep } from './alike.ts'
export { SUMMED } from './fields.ts'

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
 * A slice of a gathered frame has of each part's data, w words long, the words from
 * ⌊w · offset / total⌋ to ⌊w · (offset + 1) / total⌋.
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

export type Kind = 'summed' | 'gathered'

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

const KINDS: readonly Kind[] = ['summed', 'gathered']
const MAGIC = 0x4347524c // "LRGC"

/**
 * Reads a frame from outside; nothing in it is trusted. Allocates the header's fields only, after
 * every check.
 *
 * @param bytes  at any offset in its buffer
 * @throws TypeError  if this is no Uint8Array
 * @throws FrameError  with the byte of the first field that is wrong
 */
export function decodeFrame(bytes: Uint8Array): Frame {
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
  checkValues(view, values, valuesAt)
  return { ...fields(view), bytes: own, checksum, values, valuesAt }
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

/** Bytes from the start of a frame to its values, for so many of each: a multiple of 4. */
export function headerLength(senders: number, ranks: number, scalars: number): number {
  return FIXED + 4 * (senders + scalars) + 4 * Math.ceil(ranks / 2)
}

/** A plain Uint8Array over the same bytes: a Buffer's `slice`, say, is not what it is elsewhere. */
export function viewOf(bytes: Uint8Array): Uint8Array {
  // Not instanceof: a frame may come from another realm (an iframe, a test runner's sandbox).
  if (Object.prototype.toString.call(bytes) !== '[object Uint8Array]') {
    throw new TypeError(`a frame: expected a Uint8Array, got ${named(bytes)}`)
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Checks everything before the values, and the frame's length. Returns where the values begin. */
function checkHeader(view: DataView): number {
  const size = view.byteLength
  if (size < FIXED) throw new FrameError(`expected at least ${FIXED} bytes, got ${size}`, size)
  if (view.getUint32(AT.magic, true) !== MAGIC) throw new FrameError('not a frame', AT.magic)
  const version = view.getUint8(AT.version)
  expect(version === VERSION, `version: expected ${VERSION}, got ${version}`, AT.version)
  const kind = view.getUint8(AT.kind)
  expect(kind < KINDS.length, `kind: expected 0 or 1, got ${kind}`, AT.kind)
  const gathered = KINDS[kind] === 'gathered'
  const type = view.getUint8(AT.type)
  const types = gathered ? 1 : WIRES.length
  expect(type < types, `type: expected 0 … ${types - 1}, got ${type}`, AT.type)

  const weight = view.getFloat64(AT.weight, true)
  const usual = Object.is(weight, 0) || (weight >= MIN_WEIGHT && weight <= MAX_WEIGHT)
  expect(usual, `weight: expected 0, or 2⁻¹⁴⁹ … 2¹⁶⁰, got ${weight}`, AT.weight)
  const senders = view.getUint32(AT.senders, true)
  const ranks = view.getUint32(AT.ranks, true)
  const scalars = view.getUint32(AT.scalars, true)
  const total = view.getUint32(AT.total, true)
  const offset = view.getUint32(AT.offset, true)
  const count = view.getUint32(AT.count, true)
  if (weight === 0) expect(senders === 0, `weight 0, but ${senders} senders`, AT.senders)
  else expect(!gathered || senders > 0, 'a weight, but no sender', AT.senders)
  if (offset > 0) expect(scalars === 0, 'scalars: only in the slice with offset 0', AT.scalars)
  if (gathered) expect(total > 0, 'number of slices: expected at least 1, got 0', AT.total)
  expect(offset <= total, `offset: expected 0 … ${total}, got ${offset}`, AT.offset)
  const least = total > 0 ? 1 : 0
  const most = gathered ? Math.min(1, total - offset) : total - offset
  const fits = count >= least && count <= most
  expect(fits, `count: expected ${least} … ${most}, got ${count}`, AT.count)

  // Plain numbers: none of these sums reaches 2⁵³.
  const valuesAt = headerLength(senders, ranks, scalars)
  let length = 0 // the least that the values can take
  if (gathered) length = PART_HEAD * senders
  else if (WIRES[type] === 'int8') length = count + 5 * Math.ceil(count / 64)
  else length = count * valueBytes(WIRES[type]!)
  const exact = gathered ? senders === 0 : WIRES[type] !== 'int8'
  if (size < valuesAt + length || (exact && size > valuesAt + length)) {
    const want = `${exact ? '' : 'at least '}${valuesAt + length}`
    throw new FrameError(
      `length: the counts ask for ${want} bytes, got ${size}`,
      Math.min(size, valuesAt + length),
    )
  }

  for (let i = 1, at = FIXED + 4; i < senders; i++, at += 4) {
    const [before, sender] = [view.getUint32(at - 4, true), view.getUint32(at, true)]
    if (sender <= before) {
      throw new FrameError(`senders: ${sender} follows ${before}, expected ascending order`, at)
    }
  }
  const scalarsAt = FIXED + 4 * senders
  for (let at = scalarsAt; at < scalarsAt + 4 * scalars; at += 4) {
    const scalar = view.getFloat32(at, true)
    expect(Number.isFinite(scalar), `scalar: expected a finite number, got ${scalar}`, at)
  }
  if (ranks % 2 === 1) {
    expect(view.getUint16(valuesAt - 2, true) === 0, 'padding: expected zero', valuesAt - 2)
  }
  return valuesAt
}

/** Checks the values; the header has passed. */
function checkValues(view: DataView, values: Uint8Array, valuesAt: number): void {
  const weight = view.getFloat64(AT.weight, true)
  if (KINDS[view.getUint8(AT.kind)] === 'gathered') {
    checkParts(values, view.getUint32(AT.senders, true), weight, valuesAt)
    return
  }
  const type = WIRES[view.getUint8(AT.type)]!
  const count = view.getUint32(AT.count, true)
  if (type === 'int8') {
    const length = blocksLength(values, count)
    if (length < 0) throw new FrameError('int8 blocks do not fit', valuesAt - 1 - length)
    if (length < values.length) throw new FrameError('bytes after the values', valuesAt + length)
  }
  const bad = firstNotFinite(type, values, count, weight === 0)
  if (bad >= 0) {
    const what = weight === 0 ? 'weight 0, but a value that is not' : 'a value is not finite'
    throw new FrameError(what, valuesAt + bad)
  }
}

/** The header's fields, as copies: the bytes may be the transport's to use again. */
function fields(view: DataView): Header {
  const senders = new Uint32Array(view.getUint32(AT.senders, true))
  const scalars = new Float32Array(view.getUint32(AT.scalars, true))
  const ranks = new Uint16Array(view.getUint32(AT.ranks, true))
  let at = FIXED
  for (let i = 0; i < senders.length; i++, at += 4) senders[i] = view.getUint32(at, true)
  for (let i = 0; i < scalars.length; i++, at += 4) scalars[i] = view.getFloat32(at, true)
  for (let i = 0; i < ranks.length; i++, at += 2) ranks[i] = view.getUint16(at, true)
  return {
    kind: KINDS[view.getUint8(AT.kind)]!,
    type: WIRES[view.getUint8(AT.type)]!,
    round: view.getUint8(AT.round),
    step: view.getUint32(AT.step, true),
    layout: eight(view, AT.layout),
    parent: eight(view, AT.parent),
    weight: view.getFloat64(AT.weight, true),
    senders,
    ranks,
    scalars,
    total: view.getUint32(AT.total, true),
    offset: view.getUint32(AT.offset, true),
    count: view.getUint32(AT.count, true),
  }
}

function eight(view: DataView, at: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, 8).slice()
}

function dataView(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function expect(right: boolean, message: string, byte: number): void {
  if (!right) throw new FrameError(message, byte)
}

function named(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1)
}
