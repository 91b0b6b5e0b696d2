// Reads frames from outside, with all checks, and writes new ones. The format is specified in
// header.ts.
import { type Bytes, type BytesLike, dataView } from '../bytes.ts'
import { FrameError } from '../errors.ts'
import { bytesIn } from '../validate.ts'
import { checkParts } from './gathered.ts'
import {
  AT,
  checkHeader,
  type Header,
  headerLength,
  namesOf,
  readFields,
  writeHeader,
} from './header.ts'
import { wireType } from './wire/index.ts'
import { xxh32 } from './xxh32.ts'

/** A decoded frame. `bytes` and `values` are views of the bytes that were decoded. */
export interface Frame extends Header {
  readonly bytes: Bytes
  readonly checksum: number
  /** the encoded values: to be read by `decode` of the wire type, or by `partsOf` if gathered */
  readonly values: Uint8Array
  /** the offset of `values` in `bytes` */
  readonly valuesAt: number
}

/**
 * A frame that is being written: fill `values` (or `floats`, the same bytes), then call
 * `sealFrame`.
 */
export interface Draft {
  readonly bytes: Bytes
  readonly values: Uint8Array
  /** the values as floats, if the frame is summed and of type f32 */
  readonly floats?: Float32Array
}

/**
 * Decodes a frame from outside, and trusts nothing in it. It allocates only the fields of the
 * header, after they have been checked.
 *
 * @param bytes  at any alignment
 * @param name  how a TypeError calls them
 * @throws TypeError  if these are not bytes
 * @throws FrameError  with the byte of the first field that is wrong
 */
export function decodeFrame(bytes: BytesLike, name?: string): Frame {
  const frame = openFrame(bytes, name)
  checkFloats(frame)
  return frame
}

/** `decodeFrame` without `checkFloats`, for callers that check the values while they use them. */
export function openFrame(bytes: BytesLike, name = 'frame'): Frame {
  const plain = bytesIn(name, bytes)
  const view = dataView(plain)
  const valuesAt = checkHeader(view)
  const checksum = view.getUint32(AT.checksum, true)
  const sum = xxh32(plain.subarray(AT.version))
  if (checksum !== sum) {
    const [got, want] = [checksum, sum].map((word) => word.toString(16).padStart(8, '0'))
    throw new FrameError(`checksum: the bytes give ${want}, the frame says ${got}`, AT.checksum)
  }
  const frame = {
    ...readFields(view),
    bytes: plain,
    checksum,
    values: plain.subarray(valuesAt),
    valuesAt,
  }
  checkDivision(frame)
  return frame
}

/**
 * Checks that the blocks or parts of the values are complete and fill the frame.
 *
 * @throws FrameError
 */
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

/**
 * Checks the values of a summed frame.
 *
 * @throws FrameError  if one is not below 2⁶⁴, or not zero although the weight is 0
 */
export function checkFloats(frame: Frame): void {
  const { kind, type, values, count, weight, valuesAt, senders } = frame
  if (kind === 'gathered') return
  const bad = wireType(type).firstInvalid(values, count, weight === 0)
  if (bad < 0) return
  const large = `a value is not finite, or not below 2⁶⁴, from ${namesOf(senders)}`
  throw new FrameError(weight === 0 ? 'weight 0, but a value that is not' : large, valuesAt + bad)
}

/**
 * Reads only the header. Its fields are checked, and the frame's length as far as they determine
 * it, but neither checksum nor values. So the time does not depend on the size of the frame.
 *
 * @throws TypeError  if these are not bytes
 * @throws FrameError  with the byte of the first field that is wrong
 */
export function readHeader(bytes: BytesLike): Header {
  const view = dataView(bytesIn('frame', bytes))
  checkHeader(view)
  return readFields(view)
}

/**
 * Allocates a frame and writes its header, except the checksum. The frame has a buffer of its own,
 * in which the values begin at a multiple of 4.
 *
 * @param header  not checked: the caller ensures that `decodeFrame` accepts it
 * @param length  bytes of the values: `encodedLength` of their wire type, or `partsLength`
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

/** Writes the checksum, which completes a frame, and returns the frame. */
export function sealFrame(bytes: Bytes): Bytes {
  dataView(bytes).setUint32(AT.checksum, xxh32(bytes.subarray(AT.version)), true)
  return bytes
}

/** The checksum field of a sealed frame. */
export function checksumIn(frame: Uint8Array): number {
  return dataView(frame).getUint32(AT.checksum, true)
}
