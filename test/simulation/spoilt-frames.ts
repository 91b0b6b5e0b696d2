// Valid frames in the wrong place: aggregate or receive must refuse them.
import { sealFrame } from '../../src/codec/frame.ts'
import { inspect } from '../../src/frames.ts'
import type { Spoilt } from './scenario.ts'
import { type Chance, flipped, truncated } from './transports.ts'

const FIELDS = { configHash: 16, parent: 24, weight: 32 }

/** A copy with one field changed and a checksum that fits. */
export function resealed(frame: Uint8Array, field: 'configHash' | 'parent' | 'weight'): Uint8Array {
  const copy = frame.slice()
  const view = new DataView(copy.buffer)
  const at = FIELDS[field]
  if (field === 'weight') view.setFloat64(at, 2 * view.getFloat64(at, true), true)
  else copy[at]! ^= 1
  return sealFrame(copy)
}

/**
 * A frame that no mean of these frames may include.
 *
 * @param former  one of an earlier round, if there was one
 */
export function badFrames(
  frames: readonly Uint8Array[],
  former: Uint8Array | undefined,
  how: Spoilt,
  chance: Chance,
): Uint8Array[] {
  const frame = frames[Math.floor(chance() * frames.length)]!
  switch (how) {
    case 'nothing':
      return []
    case 'truncated':
      return [truncated(frame, chance)]
    case 'former':
      if (former) return [former]
      break
    case 'foreign':
      // With one frame of the fleet and a foreign one, either may be the odd one, but both cannot
      // be in.
      return [resealed(frame, 'configHash')]
    case 'twice':
      if (inspect(frame).weight > 0) return [resealed(frame, 'weight')]
      break
  }
  return [flipped(frame, chance)]
}
