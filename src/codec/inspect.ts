import { hex } from './alike.ts'
import { VERSION } from './fields.ts'
import type { Wire } from './floats.ts'
import { type Kind, readHeader } from './frame.ts'

/** What a frame says about itself, as plain data. */
export interface Inspection {
  version: number
  kind: Kind
  /** of summed values; the parts of gathered ones have their own */
  type: Wire
  step: number
  round: number
  /** 16 hexadecimal digits */
  layout: string
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
    layout: hex(header.layout),
    parent: hex(header.parent),
    weight: header.weight,
    senders: Array.from(header.senders),
    ranks: Array.from(header.ranks),
    scalars: Array.from(header.scalars),
    slice: { offset: header.offset, count: header.count, total: header.total },
    bytes: frame.byteLength,
  }
}
