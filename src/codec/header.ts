// The format of frames, and the code that reads, checks and writes their headers.
import type { Bytes } from '../bytes.ts'
import { FrameError } from '../errors.ts'
import { unknownType, type Wire, wireType, wireTypeOf } from './wire/index.ts'
import { LIMIT } from './wire/wire-type.ts'

/** Whether the values of a frame are averaged, or the parts of all senders are listed. */
export type FrameKind = 'summed' | 'gathered'

/**
 * A frame is the message of one worker in one round, or the mean of several such messages. It is
 * little-endian, without padding except where stated.
 *
 *   byte  size  field
 *      0     4  magic       "LRGC"
 *      4     4  checksum    XXH32, seed 0, of all bytes from 8 to the end
 *      8     1  version     1
 *      9     1  kind        0: values are summed   1: values are gathered
 *     10     1  type        id of the wire type, as in wire/, one file each; 0 if gathered
 *     11     1  round       0, 1, … within the step
 *     12     4  step        number of the training step, by which late frames are recognised
 *     16     8  configHash  hash of shapes and shared options
 *     24     8  parent      hash of all means that the values depend on
 *     32     8  weight      f64: sum of the senders' weights. 0, or 2⁻¹⁴⁹ … 2¹⁶⁰, the sums that 2³²
 *                           float32 can have: value · weight neither overflows nor underflows
 *     40     4  senders     number of senders; 0 if weight is 0
 *     44     4  ranks       number of ranks, which is the number of parameters
 *     48     4  scalars     number of scalars; 0 if offset is not 0
 *     52     4  total       summed: values of the whole frame      gathered: number of slices, ≥ 1
 *     56     4  offset      summed: index of the slice's first     gathered: index of the slice
 *     60     4  count       summed: values in the slice            gathered: 1
 *     64     4  each sender: u32, strictly ascending
 *      …     4  each scalar: f32, below 2⁶⁴ in absolute value; a mean by weight, like the values
 *      …     2  each rank: u16, the current rank of that parameter; 0: uncompressed, 0xFFFF: frozen
 *      …     2  zero, if the number of ranks is odd
 *      …     …  values, from a multiple of 4 to the end of the frame
 *
 * Summed values are the means over the senders, by weight. Values are below 2⁶⁴ in absolute value,
 * summed or gathered, and scales are so small that values are. Each file of wire/ says how its type
 * encodes them. A block of values ends where a column or a slice ends; the encoder knows columns,
 * and the decoder does not need to.
 *
 * count is 0 only if total is 0. With weight 0 all values (or their scales) are zero: this is the
 * frame of a worker that is absent, or a mean of such frames. A frame with a weight, but without
 * senders, is an anonymous mean (`fromPayload`), which cannot be aggregated.
 *
 * Gathered values are one part for each sender, in the order of the senders. There is at least one
 * sender unless weight is 0. The weight of the frame is the sum of the parts' weights, added in
 * this order in float64.
 *
 *   byte  size  field of a part
 *      0     8  weight    f64: a float32 > 0
 *      8     4  length    bytes of the data, a multiple of 4
 *     12     1  type      id of the wire type of the data's floats
 *     13     3  zero
 *     16     …  data      words and floats: see gathered.ts
 *
 * A slice of a gathered frame has a share of each part's data. Of w words it has the next ⌊w /
 * total⌋, and one more if offset < w mod total.
 *
 * A change of meaning takes a new version. Readers refuse versions that they do not know, and
 * allocate only after every count has been checked against the bytes that are there.
 */
export interface Header {
  readonly kind: FrameKind
  readonly type: Wire
  readonly round: number
  readonly step: number
  /** 8 bytes */
  readonly configHash: Uint8Array
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

/** The kinds, in the order of their numbers in frames. */
const KINDS: readonly FrameKind[] = ['summed', 'gathered']

/** "LRGC", read as a little-endian integer. */
const MAGIC = 0x4347524c

/** The version that this code writes, and the only one that it reads. */
export const VERSION = 1

/** The byte at which each field begins. */
export const AT = {
  magic: 0,
  checksum: 4,
  version: 8,
  kind: 9,
  type: 10,
  round: 11,
  step: 12,
  configHash: 16,
  parent: 24,
  weight: 32,
  senders: 40,
  ranks: 44,
  scalars: 48,
  total: 52,
  offset: 56,
  count: 60,
  /** senders, scalars and ranks, one after another */
  lists: 64,
} as const

/** The byte of a part at which each of its fields begins. */
export const PART_AT = { weight: 0, length: 8, type: 12, padding: 13, data: 16 } as const

const HASH_BYTES = 8

/** The smallest weight that is not 0: the smallest float32. */
const MIN_WEIGHT = 2 ** -149
/** The largest weight. A sum of 2³² float32 weights is smaller. */
export const MAX_WEIGHT = 2 ** 160

/** The byte of a frame at which its i-th sender begins. */
export function senderAt(i: number): number {
  return AT.lists + 4 * i
}

/** The byte of a frame at which its i-th rank begins. @param senders, scalars  how many it has */
export function rankAt(senders: number, scalars: number, i: number): number {
  return AT.lists + 4 * (senders + scalars) + 2 * i
}

/** Bytes of a header with so many senders, ranks and scalars: a multiple of 4. */
export function headerLength(senders: number, ranks: number, scalars: number): number {
  return AT.lists + 4 * (senders + scalars) + 4 * Math.ceil(ranks / 2)
}

/** The senders of a frame, for messages. */
export function namesOf(senders: Uint32Array): string {
  const { length } = senders
  return `sender${length === 1 ? '' : 's'} ${senders.subarray(0, 5)}${length > 5 ? '…' : ''}`
}

/** Writes a header, except the checksum. @param bytes  must begin where their buffer begins */
export function writeHeader(header: Header, bytes: Bytes): void {
  const { buffer } = bytes
  const { senders, scalars, ranks } = header
  const view = new DataView(buffer)
  view.setUint32(AT.magic, MAGIC, true)
  view.setUint8(AT.version, VERSION)
  view.setUint8(AT.kind, KINDS.indexOf(header.kind))
  view.setUint8(AT.type, header.kind === 'gathered' ? 0 : wireType(header.type).id)
  view.setUint8(AT.round, header.round)
  view.setUint32(AT.step, header.step, true)
  bytes.set(header.configHash, AT.configHash)
  bytes.set(header.parent, AT.parent)
  view.setFloat64(AT.weight, header.weight, true)
  view.setUint32(AT.senders, senders.length, true)
  view.setUint32(AT.ranks, ranks.length, true)
  view.setUint32(AT.scalars, scalars.length, true)
  view.setUint32(AT.total, header.total, true)
  view.setUint32(AT.offset, header.offset, true)
  view.setUint32(AT.count, header.count, true)
  new Uint32Array(buffer, senderAt(0), senders.length).set(senders)
  new Float32Array(buffer, senderAt(senders.length), scalars.length).set(scalars)
  const ranksAt = rankAt(senders.length, scalars.length, 0)
  new Uint16Array(buffer, ranksAt, ranks.length).set(ranks)
}

/**
 * Reads a header that `checkHeader` has accepted. All fields are copies: the caller may reuse the
 * bytes.
 */
export function readFields(view: DataView): Header {
  const numbers = numbersIn(view)
  const { senders, scalars, ranks } = numbers
  const length = headerLength(senders, ranks, scalars)
  const { buffer } = new Uint8Array(view.buffer, view.byteOffset, length).slice()
  return {
    ...numbers,
    kind: kindIn(view),
    type: wireTypeOf(view.getUint8(AT.type))!.name,
    round: view.getUint8(AT.round),
    configHash: new Uint8Array(buffer, AT.configHash, HASH_BYTES),
    parent: new Uint8Array(buffer, AT.parent, HASH_BYTES),
    weight: view.getFloat64(AT.weight, true),
    senders: new Uint32Array(buffer, senderAt(0), senders),
    scalars: new Float32Array(buffer, senderAt(senders), scalars),
    ranks: new Uint16Array(buffer, rankAt(senders, scalars, 0), ranks),
  }
}

/**
 * Checks all fields before the values, and the frame's length as far as the header determines it.
 *
 * @returns the byte at which the values begin
 * @throws FrameError  with the byte of the first field that is wrong
 */
export function checkHeader(view: DataView): number {
  const size = view.byteLength
  expect(size >= AT.lists, `expected at least ${AT.lists} bytes, got ${size}`, size)
  expect(view.getUint32(AT.magic, true) === MAGIC, 'not a frame', AT.magic)
  const version = view.getUint8(AT.version)
  expect(version === VERSION, `version: expected ${VERSION}, got ${version}`, AT.version)
  const kind = view.getUint8(AT.kind)
  expect(kind < KINDS.length, `kind: expected 0 or 1, got ${kind}`, AT.kind)
  const gathered = kindIn(view) === 'gathered'
  const type = view.getUint8(AT.type)
  const wire = wireTypeOf(type)
  if (gathered) expect(type === 0, `type: expected 0, got ${type}`, AT.type)
  expect(wire !== undefined, unknownType(type), AT.type)

  const weight = view.getFloat64(AT.weight, true)
  const valid = Object.is(weight, 0) || (weight >= MIN_WEIGHT && weight <= MAX_WEIGHT)
  expect(valid, `weight: expected 0, or 2⁻¹⁴⁹ … 2¹⁶⁰, got ${weight}`, AT.weight)
  const { senders, ranks, scalars, total, offset, count } = numbersIn(view)
  if (weight === 0) expect(senders === 0, `weight 0, but ${senders} senders`, AT.senders)
  else expect(!gathered || senders > 0, 'a weight, but no sender', AT.senders)
  if (offset > 0) expect(scalars === 0, 'scalars: only in the slice with offset 0', AT.scalars)
  if (gathered) expect(total > 0, 'number of slices: expected at least 1, got 0', AT.total)
  expect(offset <= total, `offset: expected 0 … ${total}, got ${offset}`, AT.offset)
  const least = total > 0 ? 1 : 0
  const most = gathered ? Math.min(1, total - offset) : total - offset
  const fits = count >= least && count <= most
  expect(fits, `count: expected ${least} … ${most}, got ${count}`, AT.count)

  // These sums are exact, for they stay below 2⁵³.
  const valuesAt = headerLength(senders, ranks, scalars)
  const length = valuesAt + (gathered ? PART_AT.data * senders : wire!.leastLength(count))
  const exact = gathered ? senders === 0 : wire!.fixedLength
  const want = `${exact ? '' : 'at least '}${length}`
  expect(
    size === length || (!exact && size > length),
    `length: the counts ask for ${want} bytes, got ${size}`,
    Math.min(size, length),
  )

  for (let i = 0, before = -1; i < senders; i++) {
    const at = senderAt(i)
    const sender = view.getUint32(at, true)
    if (sender <= before) {
      throw new FrameError(`senders: ${sender} follows ${before}, expected ascending order`, at)
    }
    before = sender
  }
  const scalarsEnd = senderAt(senders + scalars)
  for (let at = senderAt(senders); at < scalarsEnd; at += 4) {
    const scalar = view.getFloat32(at, true)
    if (Math.abs(scalar) < LIMIT) continue
    const names = namesOf(readFields(view).senders)
    throw new FrameError(`scalar: expected less than 2⁶⁴, got ${scalar}, from ${names}`, at)
  }
  if (ranks % 2 === 1) {
    const at = rankAt(senders, scalars, ranks)
    expect(view.getUint16(at, true) === 0, 'padding: expected zero', at)
  }
  return valuesAt
}

/** The u32 fields; of senders, ranks and scalars this is how many there are. */
function numbersIn(view: DataView) {
  const read = (at: number) => view.getUint32(at, true)
  return {
    step: read(AT.step),
    senders: read(AT.senders),
    ranks: read(AT.ranks),
    scalars: read(AT.scalars),
    total: read(AT.total),
    offset: read(AT.offset),
    count: read(AT.count),
  }
}

function kindIn(view: DataView): FrameKind {
  return KINDS[view.getUint8(AT.kind)]!
}

function expect(condition: boolean, message: string, byte: number): void {
  if (!condition) throw new FrameError(message, byte)
}
