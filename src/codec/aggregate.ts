// The mean of a round's frames: of all at once (`aggregate`), or one by one (`createAggregate`).
import type { Bytes, BytesLike } from '../bytes.ts'
import { FrameError, RoundError } from '../errors.ts'
import { aList, takesNone } from '../validate.ts'
import { beginFrame, checkFloats, decodeFrame, type Frame, openFrame, sealFrame } from './frame.ts'
import { faultIn, type PackedPart, partsLength, partsOf, writeParts } from './gathered.ts'
import { type Header, senderAt } from './header.ts'
import { addScalars, addValues, meanOf, noScalars } from './mean.ts'
import { createParticipants, type Participants } from './participants.ts'

/**
 * Computes the mean of a round's frames, for `Compressor.receive`: the all-reduce of PowerSGD
 * (Vogels, Karimireddy & Jaggi 2019, Algorithm 1).
 *
 * The mean is a frame itself. Its values and scalars are the means by weight, its weight is the sum
 * of the weights, and it lists all senders. It may be aggregated again with other frames of the
 * round. In a gathered round (such as those of `topK` or `dad`) the result lists the parts of all
 * senders instead.
 *
 * Values are summed in float64 in the order of the frames' first senders, so that equal frames in
 * any order give equal bits. The means are float32, whatever the wire types of the frames. Senders
 * and weights are exact. Frames of weight 0 add nothing; if all have weight 0, the mean is zeros of
 * weight 0.
 *
 * @param frames  frames of one step and round, at any alignment. No sender is in two of them
 * @returns a new frame
 * @throws RangeError  if there are no frames
 * @throws TypeError  if they are no array, or one is no bytes
 * @throws FrameError  if one is damaged, or has a value that is not below 2⁶⁴; if it differs from
 *   the others in step, round, shapes, options, history, ranks or slice; or if a sender occurs
 *   twice. The message names the sender
 */
export function aggregate(frames: readonly BytesLike[]): Bytes {
  aList('frames', frames, 'frames')
  const opened = Array.from(frames, (bytes, i) => openFrame(bytes, `frames[${i}]`)).sort(bySender)
  const participants = createParticipants()
  for (const frame of opened) {
    // Summed values of a weight above 0 are checked through their mean.
    if (frame.weight === 0) checkFloats(frame)
    checkPartsOf(frame)
    if (!participants.admits(frame)) {
      throw new FrameError(
        `sender ${frame.senders[0]} occurs twice, with the very same frame: it was delivered twice, ` +
          'or two workers share a `sender` number',
        senderAt(0),
      )
    }
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

/**
 * The mean of a round, on a server that receives the frames one by one. Made by `createAggregate`.
 */
export interface Aggregate {
  /**
   * Adds a frame. The caller may reuse its bytes afterwards.
   *
   * The memory is that of one frame in float64, however many workers there are; in a gathered round
   * it is that of all parts. Frames are summed in the order of the calls, so that, unlike with
   * `aggregate`, another order may give another rounding.
   *
   * @returns false if the very same frame has been added before; it is not added again. A frame of
   *   weight 0, which has no sender, always returns true
   * @throws TypeError  if these are not bytes
   * @throws FrameError  if the frame is damaged, has a value that is not below 2⁶⁴, does not belong
   *   to the round of the first one, or has a sender of another frame. Nothing has been added then
   */
  add(frame: BytesLike): boolean
  /** The mean of the frames added so far, as a new frame. @throws RoundError  if there are none */
  result(): Bytes
  /**
   * Removes all frames, for the next round. The memory is used again for frames of the same size.
   */
  reset(): void
  /** the step of the frames; null while there are none */
  readonly step: number | null
  /** the round of the frames; null while there are none */
  readonly round: number | null
  /** the senders of all frames, ascending */
  readonly senders: number[]
  /** the sum of the frames' weights */
  readonly weight: number
}

/** Creates an empty `Aggregate`, which can be used for one round after another (`reset`). */
export function createAggregate(...none: []): Aggregate {
  takesNone(none)
  const participants = createParticipants()
  let empty = true // no frame of weight > 0 yet
  let values = new Float64Array(0)
  let scalars: Float64Array = new Float64Array(0)
  let parts: PackedPart[] = []
  return {
    add(bytes) {
      const frame = decodeFrame(bytes)
      checkPartsOf(frame)
      if (!participants.admits(frame)) return false
      if (frame.weight > 0) {
        if (frame.kind === 'gathered') for (const part of partsOf(frame)) parts.push(copy(part))
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
      if (participants.header.kind === 'gathered') return gathered(participants, scalars, parts)
      return summed(participants, scalars, (floats, weight) => meanOf([], weight, floats, values))
    },
    reset() {
      participants.clear()
      empty = true
      parts = []
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

/** The frame of a mean. Its values are written by `fill`; they stay zeros if the weight is 0. */
function summed(
  participants: Participants,
  scalars: Float64Array,
  fill: (floats: Float32Array, weight: number) => void,
): Bytes {
  const header = meanHeader(participants, scalars, participants.weight())
  const { bytes, floats } = beginFrame({ ...header, type: 'f32' }, 4 * header.count)
  if (header.weight > 0) fill(floats!, header.weight)
  return sealFrame(bytes)
}

/** The frame with the parts of all senders. */
function gathered(
  participants: Participants,
  scalars: Float64Array,
  parts: readonly PackedPart[],
): Bytes {
  const sorted = [...parts].sort((a, b) => a.sender - b.sender)
  const weight = sorted.reduce((sum, part) => sum + part.weight, 0)
  const header = meanHeader(participants, scalars, weight)
  const { bytes, values } = beginFrame(header, partsLength(sorted))
  writeParts(sorted, values)
  return sealFrame(bytes)
}

/** The header of a mean. @param sums  Σ weight · scalar; not read if the weight is 0 */
function meanHeader(participants: Participants, sums: Float64Array, weight: number): Header {
  const header = participants.header!
  const scalars = header.scalars.map((_, i) => (weight > 0 ? sums[i]! / weight : 0))
  return { ...header, weight, senders: participants.senders(), scalars }
}

/** Checks the parts of a whole gathered frame. Those of a slice are fragments. @throws FrameError */
function checkPartsOf(frame: Frame): void {
  if (frame.kind === 'summed' || frame.total > 1) return
  for (const part of partsOf(frame)) {
    const fault = faultIn(part)
    if (fault) throw fault
  }
}

function copy(part: PackedPart): PackedPart {
  return { ...part, data: part.data.slice() }
}

/** The order of first senders; frames without senders come first. */
function bySender(a: Frame, b: Frame): number {
  return (a.senders[0] ?? -1) - (b.senders[0] ?? -1)
}
