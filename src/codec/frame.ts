// Frames as they come and go: checked when they come from outside, written when they are made. Their
// format is in the table of header.ts.
import { dataView } from '../bytes.ts'
import { FrameError } from '../errors.ts'
import { checkParts } from './gathered.ts'
import { AT, checkHeader, type Header, headerLength, readFields, writeHeader } from './header.ts'
import { wireType } from './wire/index.ts'
import { xxh32 } from './xxh32.ts'

/** A frame that has passed every check. `bytes` and `values` are views of what was given. */
export interface Frame extends Header {
  readonly bytes: Uint8Array
  readonly checksum: number
  /** the encoded values; `decode` of their wire type reads them, `partsOf` if they are gathered */
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

/** `decodeFrame` without `checkFloats`, for callers who find out about the values while using them. */
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
  const frame = {
    ...readFields(view),
    bytes: own,
    checksum,
    values: own.subarray(valuesAt),
    valuesAt,
  }
  checkDivision(frame)
  return frame
}

/** Checks how the values are divided into blocks or parts. */
function checkDivision(frame: Frame): void {
  const { kind, type, values, valuesAt, count } = frame
  if (kind === 'gathered') {
    checkParts(frame)
    return
  }
  const length = wireType(type).lengthIn(values, count)
  if (length < 0) throw new FrameError(`${type} blocks do not fit`, valuesAt - 1 - length)
  if (length < values.length) throw new FrameError('bytes after the values', valuesAt + length)
}

/** @throws FrameError  if a summed value is not finite, or, with weight 0, not zero */
export function checkFloats({ kind, type, values, count, weight, valuesAt }: Frame): void {
  if (kind === 'gathered') return
  const bad = wireType(type).firstInvalid(values, count, weight === 0)
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
  return readFields(view)
}

/**
 * Allocates a frame and writes all but its values and checksum. The values begin at a multiple of 4
 * in a buffer of its own.
 *
 * @param header  trusted: what is written must be able to pass `decodeFrame`
 * @param length  bytes of the values: `encodedLength` of their wire type, or of the parts
 */
export function beginFrame(header: Header, length: number): Draft {
  const { senders, scalars, ranks } = header
  const valuesAt = headerLength(senders.length, ranks.length, scalars.length)
  const bytes = new Uint8Array(valuesAt + length)
  writeHeader(header, bytes)
  const values = bytes.subarray(valuesAt)
  if (header.kind === 'gathered' || header.type !== 'f32') return { bytes, values }
  return { bytes, values, floats: new Float32Array(bytes.buffer, valuesAt, header.count) }
}

/** Writes the checksum: the last step of making a frame. Returns its argument. */
export function sealFrame(bytes: Uint8Array): Uint8Array {
  dataView(bytes).setUint32(AT.checksum, xxh32(bytes.subarray(AT.version)), true)
  return bytes
}

/** The checksum that a sealed frame says. */
export function checksumIn(frame: Uint8Array): number {
  return dataView(frame).getUint32(AT.checksum, true)
}

/** A plain Uint8Array over the same bytes: `slice` of a Buffer, say, is not what it is elsewhere. */
function viewOf(bytes: Uint8Array): Uint8Array {
  // Not instanceof: a frame may come from another realm (an iframe, a test runner's sandbox).
  const type = Object.prototype.toString.call(bytes)
  if (type !== '[object Uint8Array]') {
    throw new TypeError(`a frame: expected a Uint8Array, got ${type.slice(8, -1)}`)
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
