// Mutants of frames: random bytes, and fields and values that an attacker would choose.
import { sealFrame } from '../../src/codec/frame.ts'
import { AT, headerLength, PART_AT, rankAt, senderAt } from '../../src/codec/header.ts'
import type { Dice } from './dice.ts'

/** Bounds and traps of float32: the limit 2⁶⁴ from both sides, and what is no number. */
export const FLOATS: readonly number[] = [
  ...[0, -0, 1, -1, 2 ** -149, 2 ** -126, 1e-30, 2 ** 31, 2 ** 50],
  ...[2 ** 63, -(2 ** 63), 2 ** 64 - 2 ** 40, 2 ** 64, -(2 ** 64), 2 ** 99, 2 ** 100, 2 ** 127],
  ...[3.4028234663852886e38, Number.NaN, Infinity, -Infinity],
]
/** Of these, what a frame may carry. */
const ALLOWED = FLOATS.filter((x) => Math.abs(x) < 2 ** 64)

const WEIGHTS: readonly number[] = [
  ...[0, -0, 1, -1, 0.1, 2 ** -149, 2 ** -150, 5e-324, 1e30, 3e38, 3.4028234663852886e38],
  ...[1e39, 1e308, 2 ** 159, 2 ** 160, 2 ** 161, Number.NaN, Infinity, -Infinity],
]

const FIELDS_U32 = [
  ...[AT.magic, AT.checksum, AT.step, AT.senders, AT.ranks, AT.scalars],
  ...[AT.total, AT.offset, AT.count],
]
const FIELDS_U8 = [AT.version, AT.kind, AT.type, AT.round]

type Mutation = (frame: Uint8Array, dice: Dice, others: readonly Uint8Array[]) => Uint8Array

/**
 * A mutant of a frame, in most cases with a checksum that fits, so that later checks must find it.
 *
 * @param others  frames that parts of it may be taken from
 */
export function mutatedFrame(
  frame: Uint8Array,
  dice: Dice,
  others: readonly Uint8Array[] = [],
): Uint8Array {
  let mutant: Uint8Array = frame.slice()
  for (let n = dice.pick([1, 1, 1, 2, 3]); n > 0; n--) {
    mutant = dice.pick(mutant.length < AT.lists ? BLIND : MUTATIONS)(mutant, dice, others)
  }
  return dice.hits(0.9) && mutant.length >= AT.version ? sealFrame(mutant.slice()) : mutant
}

const flip: Mutation = (frame, dice) => {
  if (frame.length > 0) frame[dice.below(frame.length)]! ^= 1 << dice.below(8)
  return frame
}

const flipInHeader: Mutation = (frame, dice) => {
  frame[dice.below(Math.min(frame.length, AT.lists + 16))]! ^= 1 << dice.below(8)
  return frame
}

const truncate: Mutation = (frame, dice) =>
  frame.slice(0, dice.hits(0.5) ? dice.below(frame.length + 1) : Math.max(0, frame.length - 4))

const extend: Mutation = (frame, dice) => {
  const longer = new Uint8Array(frame.length + dice.pick([1, 2, 4, 16, 1000]))
  longer.set(frame)
  if (dice.hits(0.5)) {
    for (let i = frame.length; i < longer.length; i++) longer[i] = dice.below(256)
  }
  return longer
}

/** The beginning of one frame and the rest of another. */
const splice: Mutation = (frame, dice, others) => {
  const other = dice.pick([frame, ...others])
  const at = dice.below(frame.length + 1)
  const from = dice.hits(0.7) ? at : dice.below(other.length + 1)
  return Uint8Array.from([...frame.subarray(0, at), ...other.subarray(from)])
}

const setField: Mutation = (frame, dice) => {
  const view = viewOf(frame)
  if (dice.hits(0.25)) {
    const at = dice.pick(FIELDS_U8)
    view.setUint8(at, extreme(view.getUint8(at), 0xff, dice))
  } else {
    const at = dice.pick(FIELDS_U32)
    view.setUint32(at, extreme(view.getUint32(at, true), 0xffffffff, dice), true)
  }
  return frame
}

const setHash: Mutation = (frame, dice, others) => {
  const at = dice.pick([AT.configHash, AT.parent])
  const other = dice.pick([frame, ...others])
  if (dice.hits(0.5) && other.length >= AT.lists) frame.set(other.subarray(at, at + 8), at)
  else frame[at + dice.below(8)] = dice.below(256)
  return frame
}

const setWeight: Mutation = (frame, dice) => {
  const view = viewOf(frame)
  const weight = dice.pick(WEIGHTS)
  view.setFloat64(AT.weight, weight, true)
  // The weight of a gathered frame is the sum of its parts'.
  const at = valuesAt(frame)
  if (view.getUint8(AT.kind) === 1 && at + 8 <= frame.length && dice.hits(0.7)) {
    view.setFloat64(at + PART_AT.weight, weight, true)
  }
  return frame
}

/** Another sender's number, the same one twice, or two in the wrong order. */
const setSender: Mutation = (frame, dice) => {
  const view = viewOf(frame)
  const senders = Math.min(view.getUint32(AT.senders, true), (frame.length - AT.lists) >> 2)
  if (senders === 0) return frame
  const at = senderAt(dice.below(senders))
  const before = dice.hits(0.5) && at > AT.lists ? view.getUint32(at - 4, true) : undefined
  view.setUint32(at, before ?? dice.pick([0, 1, 2, 5, 9, 10, 0xfffffffe, 0xffffffff]), true)
  return frame
}

/** One sender more, so that all behind it moves. */
const addSender: Mutation = (frame, dice) => {
  const count = viewOf(frame).getUint32(AT.senders, true)
  const at = senderAt(dice.hits(0.5) ? 0 : Math.min(count, (frame.length - AT.lists) >> 2))
  const longer = new Uint8Array(frame.length + 4)
  longer.set(frame.subarray(0, at))
  longer.set(frame.subarray(at), at + 4)
  const view = viewOf(longer)
  view.setUint32(at, dice.pick([0, 3, 7, 0xffffffff]), true)
  view.setUint32(AT.senders, count + 1, true)
  return longer
}

const setScalarOrRank: Mutation = (frame, dice) => {
  const view = viewOf(frame)
  const [senders, scalars, ranks] = [AT.senders, AT.scalars, AT.ranks].map((at) =>
    view.getUint32(at, true),
  ) as [number, number, number]
  if (scalars > 0 && dice.hits(0.7)) {
    const at = senderAt(senders) + 4 * dice.below(scalars)
    if (at + 4 <= frame.length) view.setFloat32(at, dice.pick(FLOATS), true)
  } else if (ranks > 0) {
    const at = rankAt(senders, scalars, dice.below(ranks))
    if (at + 2 <= frame.length) {
      view.setUint16(at, extreme(view.getUint16(at, true), 0xffff, dice), true)
    }
  }
  return frame
}

/** A float32, a float16 or a byte anywhere in the values. */
const setValue: Mutation = (frame, dice) => {
  const from = valuesAt(frame)
  const view = viewOf(frame)
  for (let n = dice.pick([1, 1, 2, 8]); n > 0 && from < frame.length; n--) {
    const at = from + dice.below(frame.length - from)
    const even = from + ((at - from) & ~3)
    if (dice.hits(0.6) && even + 4 <= frame.length) view.setFloat32(even, dice.pick(FLOATS), true)
    else if (dice.hits(0.6) && at + 2 <= frame.length) {
      view.setUint16(at, dice.pick([0, 0x8000, 0x7c00, 0x7e00, 0x7bff, 0x5f7f, 0x5f80, 0x7f80]))
    } else frame[at] = dice.pick([0, 1, 0x7f, 0x80, 0xff])
  }
  return frame
}

/** All values as large as a frame may have them, or what else it may carry: of float32 frames. */
const setAllValues: Mutation = (frame, dice) => {
  const view = viewOf(frame)
  const gathered = view.getUint8(AT.kind) === 1
  const few = dice.hits(0.5) ? [dice.pick(ALLOWED)] : [-(2 ** 63), 2 ** 63, dice.pick(ALLOWED)]
  let at = valuesAt(frame)
  if (gathered && at + PART_AT.data + 8 <= frame.length) {
    const words = view.getUint32(at + PART_AT.data, true)
    at = Math.min(frame.length, at + PART_AT.data + 8 + 4 * words)
  }
  for (; at + 4 <= frame.length; at += 4) view.setFloat32(at, dice.pick(few), true)
  return frame
}

/** The header of a part, its counts or its words: gathered frames. */
const setPart: Mutation = (frame, dice) => {
  const view = viewOf(frame)
  const at = valuesAt(frame)
  if (at + PART_AT.data + 8 > frame.length) return frame
  const field = dice.pick([PART_AT.length, PART_AT.type, PART_AT.data, PART_AT.data + 4, null])
  if (field !== null) {
    const old = view.getUint32(at + field, true)
    view.setUint32(at + field, extreme(old, 0xffffffff, dice), true)
    // The counts of a part may move, from words to floats or back, with its bytes left.
    if (field === PART_AT.data && dice.hits(0.5)) {
      const floats = view.getUint32(at + field + 4, true)
      view.setUint32(at + field, old + 1, true)
      view.setUint32(at + field + 4, floats - 1, true)
    }
    return frame
  }
  const words = Math.min(view.getUint32(at + PART_AT.data, true), 64)
  const word = at + PART_AT.data + 8 + 4 * dice.below(words + 1)
  if (word + 4 <= frame.length) {
    view.setUint32(word, extreme(view.getUint32(word, true), 0xffffffff, dice), true)
  }
  return frame
}

/** Mutations that need no header. */
const BLIND: readonly Mutation[] = [truncate, extend, splice]

const MUTATIONS: readonly Mutation[] = [
  ...[flip, flip, flipInHeader, truncate, extend, splice, setField, setField, setHash],
  ...[setWeight, setWeight, setSender, setSender, addSender, setScalarOrRank],
  ...[setValue, setValue, setValue, setValue, setAllValues, setAllValues, setPart, setPart],
]

/** 0, the largest, one more, one less, or any. */
function extreme(old: number, most: number, dice: Dice): number {
  return dice.pick([0, most, old + 1, old - 1, 1, most >>> 1, dice.below(most)]) & most
}

/** The byte at which the values should begin; the end of the frame, if it has none. */
function valuesAt(frame: Uint8Array): number {
  const view = viewOf(frame)
  const counts = [AT.senders, AT.ranks, AT.scalars].map((at) => view.getUint32(at, true))
  const [senders, ranks, scalars] = counts as [number, number, number]
  return Math.min(frame.length, headerLength(senders, ranks, scalars))
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
