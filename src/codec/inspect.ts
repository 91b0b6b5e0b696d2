// The header of a frame as plain data, for servers, logs and debugging.
import { type BytesLike, toHex } from '../bytes.ts'
import { readHeader } from './frame.ts'
import { type FrameKind, VERSION } from './header.ts'
import type { Wire } from './wire/index.ts'

/** The header of a frame, as plain data. */
export interface Inspection {
  version: number
  kind: FrameKind
  /** the wire type of summed values; 'f32' if gathered, where each part has a type of its own */
  type: Wire
  step: number
  round: number
  /** hash of shapes and shared options: 16 hexadecimal digits */
  configHash: string
  /** hash of all means that the sender has received: 16 hexadecimal digits */
  parent: string
  /** the sum of the senders' weights */
  weight: number
  /** ascending */
  senders: number[]
  /** the rank of each parameter; 0: it travels uncompressed; 65535: it is frozen */
  ranks: number[]
  scalars: number[]
  /** `count` values from `offset` on, of `total`; if gathered, slice `offset` of `total` slices */
  slice: { offset: number; count: number; total: number }
  /** the length of the frame */
  bytes: number
}

/**
 * Reads the header of a frame, so that a server can recognise and drop late frames cheaply: the
 * time does not depend on the size of the frame.
 *
 * Checksum and values are not checked. So the header is certain only once the frame has been
 * aggregated.
 *
 * @param frame  at any alignment
 * @throws TypeError  if these are not bytes
 * @throws FrameError  if it is not a frame, with the byte of the first field that is wrong
 */
export function inspect(frame: BytesLike): Inspection {
  const header = readHeader(frame)
  return {
    version: VERSION,
    kind: header.kind,
    type: header.type,
    step: header.step,
    round: header.round,
    configHash: toHex(header.configHash),
    parent: toHex(header.parent),
    weight: header.weight,
    senders: Array.from(header.senders),
    ranks: Array.from(header.ranks),
    scalars: Array.from(header.scalars),
    slice: { offset: header.offset, count: header.count, total: header.total },
    bytes: frame.byteLength,
  }
}
