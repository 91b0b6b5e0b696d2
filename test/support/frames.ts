import { decodeFrame, type Frame } from '../../src/codec/frame.ts'
import { wireType } from '../../src/codec/wire/index.ts'

/** A frame that has been read: its header, and its values as float32. */
export interface Opened extends Frame {
  readonly floats: Float32Array
}

export function open(bytes: Uint8Array): Opened {
  const frame = decodeFrame(bytes)
  const floats = new Float32Array(frame.count)
  wireType(frame.type).decode(frame.values, frame.count, floats)
  return { ...frame, floats }
}
