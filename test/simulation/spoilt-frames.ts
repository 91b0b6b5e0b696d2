// Valid frames in the wrong place: aggregate or receive must refuse them.
import { beginFrame, sealFrame } from '../../src/codec/frame.ts'
import { inspect } from '../../src/frames.ts'
import { open } from '../support/frames.ts'
import type { Hostile, Spoilt } from './scenario.ts'
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

/** A copy with a value that no frame may have; of another wire type, one with a wrong checksum. */
export function tooLarge(frame: Uint8Array, chance: Chance): Uint8Array {
  const { type, count, valuesAt, weight } = open(frame)
  if (type !== 'f32' || count === 0 || weight === 0) return flipped(frame, chance)
  const copy = frame.slice()
  const at = valuesAt + 4 * Math.floor(chance() * count)
  const values = [2 ** 64, -(2 ** 100), Number.NaN, Infinity]
  new DataView(copy.buffer).setFloat32(at, values[Math.floor(4 * chance())]!, true)
  return sealFrame(copy)
}

/** The number of a sender that no member has. */
const STRANGER = 0xffffffff

/**
 * The frame of a peer that can only be accepted: like a member's, but of a sender of its own, with
 * values that it chooses.
 */
export function hostileFrame(
  frame: Uint8Array,
  how: Hostile,
  weight: number,
  chance: Chance,
): Uint8Array {
  const own = open(frame)
  const senders = Uint32Array.of(STRANGER)
  const header = { ...own, type: 'f32' as const, senders, weight: Math.fround(weight) }
  const { bytes, floats } = beginFrame(header, 4 * own.count)
  const all = { large: [2 ** 63, -(2 ** 63)], mixed: [2 ** 62, 2 ** -149, 0, -1], zero: [0, -0] }
  for (let i = 0; i < floats!.length; i++) {
    floats![i] = all[how][Math.floor(all[how].length * chance())]!
  }
  return sealFrame(bytes)
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
    case 'tooLarge':
      return [tooLarge(frame, chance)]
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
