import { RoundError } from '../errors.ts'
import { beginFrame, checkFloats, decodeFrame, type Frame, openFrame, sealFrame } from './frame.ts'
import { type PackedPart, partsLength, partsOf, writeParts } from './gathered.ts'
import type { Header } from './header.ts'
import { addScalars, addValues, meanOf, noScalars } from './mean.ts'
import { createParticipants, duplicateSender, type Participants } from './participants.ts'

/**
 * The mean of a round's frames, as a frame that can be aggregated again: values and scalars are
 * averaged by weight (or gathered, if that is their kind), senders united, weights summed.
 *
 * Frames are summed in float64 in the order of their first senders, so that the same frames in any
 * order give the same bits; results are float32 whatever the wire types. Senders and weights come
 * out exact. Frames of weight 0 add nothing; if there is nothing else, the mean is zero, of weight 0.
 *
 * @param frames  of one step and round, each named by its own senders; at any alignment
 * @throws RangeError  if there are none
 * @throws TypeError  if one is no Uint8Array
 * @throws FrameError  if one is spoilt or unlike the others, or a sender occurs twice
 */
export function aggregate(frames: readonly Uint8Array[]): Uint8Array {
  if (frames.length === 0) throw new RangeError('"frames": expected at least one, got none')
  const opened = frames.map(openFrame).sort(bySender)
  // The values that count are checked by their mean, which is finite only if they all are.
  for (const frame of opened) if (frame.weight === 0) checkFloats(frame)
  const participants = createParticipants()
  for (const frame of opened) {
    if (!participants.admits(frame)) throw duplicateSender(frame.senders[0]!, 0)
    participants.enter(frame)
  }
  const counted = opened.filter(({ weight }) => weight > 0)
  const scalars = noScalars(opened[0]!)
  for (const frame of counted) addScalars(scalars, frame)
  if (opened[0]!.kind === 'gathered')
    return gathered(participants, scalars, counted.flatMap(partsOf))
  return summed(participants, scalars, (floats, weight) => {
    if (!meanOf(counted, weight, floats)) counted.forEach(checkFloats)
  })
}

/** One round's mean in the making, on a server that gets its frames one by one. */
export interface Aggregate {
  /**
   * Adds a frame; its bytes may be used again afterwards.
   *
   * Float64 sums of one frame are kept, however many workers there are (gathered: every part). They
   * are added as they come: unlike `aggregate`, another order may round differently.
   *
   * @returns false for a frame that is in already. One of weight 0 names nobody and is always new.
   * @throws TypeError  if this is no Uint8Array
   * @throws FrameError  if it is spoilt, unlike the first, or has a sender who is in with other
   *   bytes; what was added stays as it was
   */
  add(frame: Uint8Array): boolean
  /** The mean so far: a fresh frame. @throws RoundError if there is no frame yet */
  result(): Uint8Array
  /** Forgets everything, but keeps the memory for frames of the same size. */
  reset(): void
  /** of the frames; null while there is none */
  readonly step: number | null
  /** of the frames; null while there is none */
  readonly round: number | null
  /** who is in, ascending */
  readonly senders: number[]
  /** sum of their weights */
  readonly weight: number
}

/** A mean in the making: see `Aggregate`. */
export function createAggregate(): Aggregate {
  const participants = createParticipants()
  let empty = true
  let values = new Float64Array(0)
  let scalars: Float64Array = new Float64Array(0)
  let held: PackedPart[] = []
  return {
    add(bytes) {
      const frame = decodeFrame(bytes)
      if (!participants.admits(frame)) return false
      if (frame.weight > 0) {
        if (frame.kind === 'gathered') held = held.concat(partsOf(frame).map(copy))
        else {
          if (empty && values.length !== frame.count) values = new Float64Array(frame.count)
          addValues(values, frame, empty)
        }
        if (empty) scalars = noScalars(frame)
        addScalars(scalars, frame)
        empty = false
      }
      participants.enter(frame)
      return true
    },
    result() {
      if (!participants.header) throw new RoundError('result: no frame has been added')
      if (participants.header.kind === 'gathered') return gathered(participants, scalars, held)
      return summed(participants, scalars, (floats, weight) => meanOf([], weight, floats, values))
    },
    reset() {
      participants.clear()
      empty = true
      held = []
    },
    get step() {
      return participants.header?.step ?? null
    },
    get round() {
      return participants.header?.round ?? null
    },
    get senders() {
      return Array.from(participants.senders())
    },
    get weight() {
      return participants.weight()
    },
  }
}

/** The mean's frame; a mean of weight 0 is not filled, but zero. */
function summed(
  participants: Participants,
  scalars: Float64Array,
  fill: (floats: Float32Array, weight: number) => void,
): Uint8Array {
  const header = united(participants, scalars, participants.weight())
  const { bytes, floats } = beginFrame({ ...header, type: 'f32' }, 4 * header.count)
  if (header.weight > 0) fill(floats!, header.weight)
  return sealFrame(bytes)
}

/** The frame with everyone's parts. */
function gathered(
  participants: Participants,
  scalars: Float64Array,
  held: readonly PackedPart[],
): Uint8Array {
  const sorted = [...held].sort((a, b) => a.sender - b.sender)
  const weight = sorted.reduce((sum, part) => sum + part.weight, 0)
  const { bytes, values } = beginFrame(united(participants, scalars, weight), partsLength(sorted))
  writeParts(sorted, values)
  return sealFrame(bytes)
}

/** @param sums  of the scalars; looked at if the weight is > 0 */
function united(participants: Participants, sums: Float64Array, weight: number): Header {
  const header = participants.header!
  const scalars = header.scalars.map((_, i) => (weight > 0 ? sums[i]! / weight : 0))
  return { ...header, weight, senders: participants.senders(), scalars }
}

function copy(part: PackedPart): PackedPart {
  return { ...part, data: part.data.slice() }
}

/** Those that name nobody first. */
function bySender(a: Frame, b: Frame): number {
  return (a.senders[0] ?? -1) - (b.senders[0] ?? -1)
}
