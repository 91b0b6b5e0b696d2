import { toHex } from '../bytes.ts'
import { readHeader } from './frame.ts'
import { type FrameKind, VERSION } from './header.ts'
import type { Wire } from './wire/index.ts'

/** What a frame says about itself, as plain data. */
export interface Inspection {
  version: number
  kind: FrameKind
  /** of summed values; the parts of gathered ones have their own */
  type: Wire
  step: number
  round: number
  /** 16 hexadecimal digits */
  configHash: string
  /** 16 hexadecimal digits */
  parent: string
  weight: number
  senders: number[]
  /** in force for each parameter; 0: raw */
  ranks: number[]
  scalars: number[]
  slice: { offset: number; count: number; total: number }
  /** length of the frame */
  bytes: number
}

/**
 * Reads the header alone, neither checksum nor values: a server drops late frames cheaply. What it
 * says is only sure once the frame has been aggregated.
 *
 * @throws TypeError  if this is no Uint8Array
 * @throws FrameError  if it is no frame
 */
export function inspect(frame: Uint8Array): Inspection {
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
