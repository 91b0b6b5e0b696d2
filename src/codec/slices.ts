// Cuts frames into slices for transports that limit the size of a message, and joins them again.
import type { Bytes, BytesLike } from '../bytes.ts'
import { FrameError } from '../errors.ts'
import { aList, integer } from '../validate.ts'
import { beginFrame, decodeFrame, type Frame, sealFrame } from './frame.ts'
import {
  emptyData,
  faultIn,
  type PackedPart,
  partLength,
  partsLength,
  partsOf,
  writeParts,
} from './gathered.ts'
import { AT, type Header, headerLength, PART_AT } from './header.ts'
import { assertSameFrame } from './match.ts'
import { wireType } from './wire/index.ts'

/**
 * Cuts a frame into slices of limited size. A slice is a frame with the same senders and weight.
 * Either aggregate the workers' slices one by one, then join the means with `joinSlices`; or join
 * the slices first. The order does not matter.
 *
 * Frames of one round are cut at the same values if they have the same wire type and the same
 * number of senders. A frame without senders is cut as if it had one, so that its slices match
 * those of the other workers. (A gathered frame is cut into as many slices as its own length
 * requires.)
 *
 * Every slice has a header of its own, which may be long, with its senders and ranks. A `maxBytes`
 * that leaves less for values than for the header is refused, unless the header is short: at most
 * 256 bytes longer than the values. So slices take about twice the bytes of the frame at most.
 *
 * @param frame  a whole frame or, if its values are summed, a slice
 * @param maxBytes  the size of a slice at most, header included
 * @returns the slices in order; [frame] if it is small enough
 * @throws RangeError  if `maxBytes` is not a positive integer; or is too small for the header, or
 *   for one value, one int8 block, or one word of each part
 * @throws TypeError  if `frame` is no bytes
 * @throws FrameError  if the frame is damaged
 */
export function splitFrame(frame: BytesLike, maxBytes: number): Bytes[] {
  integer('maxBytes', maxBytes, 1, Number.MAX_SAFE_INTEGER)
  const whole = decodeFrame(frame)
  const { senders, ranks, scalars } = whole
  const senderCount = Math.max(1, senders.length)
  if (whole.bytes.length + 4 * (senderCount - senders.length) <= maxBytes) return [whole.bytes]
  if (whole.kind === 'gathered') return splitParts(whole, maxBytes)
  const first = headerLength(senderCount, ranks.length, scalars.length)
  if (whole.count === 0) throw tooSmall(maxBytes)
  const later = headerLength(senderCount, ranks.length, 0)
  checkRoom(maxBytes, later)
  const cuts = cutsOf(whole, maxBytes - first, maxBytes - later)
  return cuts.map(({ at, length, offset, count }) => {
    const header = {
      ...whole,
      scalars: offset === 0 ? scalars : new Float32Array(0),
      offset: whole.offset + offset,
      count,
    }
    const { bytes, values } = beginFrame(header, length)
    values.set(whole.values.subarray(at, at + length))
    return sealFrame(bytes)
  })
}

/**
 * Joins the slices of one frame, given in any order.
 *
 * @param frames  all slices that `splitFrame` returned, or their means
 * @returns the whole frame: the bytes that were split, or their mean
 * @throws RangeError  if there are none
 * @throws TypeError  if they are no array, or one is no bytes
 * @throws FrameError  if one is damaged, missing or there twice; or if they are of different
 *   frames. All must have the same senders, weight and history, so that no step counts by halves
 */
export function joinSlices(frames: readonly BytesLike[]): Bytes {
  aList('frames', frames, 'slices')
  const slices = Array.from(frames, (bytes, i) => decodeFrame(bytes, `frames[${i}]`))
  slices.sort((a, b) => a.offset - b.offset)
  const first = slices[0]!
  let next = 0
  for (const slice of slices) {
    assertSameFrame(first, slice)
    if (slice.offset !== next) {
      const what =
        slice.offset < next ? 'is there twice, or overlaps another' : 'lacks the one before it'
      throw new FrameError(
        `offset: the slice ${what}, expected ${next}, got ${slice.offset}`,
        AT.offset,
      )
    }
    next += slice.count
  }
  if (next < first.total) {
    throw new FrameError(`total: expected slices up to ${first.total}, got up to ${next}`, AT.total)
  }
  if (slices.length === 1) return first.bytes
  if (first.kind === 'gathered') return joinParts(slices)
  const length = slices.reduce((sum, { values }) => sum + values.length, 0)
  const { bytes, values } = beginFrame({ ...first, count: first.total }, length)
  let at = 0
  for (const slice of slices) {
    values.set(slice.values, at)
    at += slice.values.length
  }
  return sealFrame(bytes)
}

/** How many of a part's words slice `offset` of `total` slices has: see header.ts. */
function share(words: number, offset: number, total: number): number {
  return Math.floor(words / total) + (offset < words % total ? 1 : 0)
}

/** `splitFrame` for a gathered frame: finds the smallest number of slices by bisection. */
function splitParts(whole: Frame, maxBytes: number): Bytes[] {
  if (whole.total > 1) throw new RangeError('a slice of a gathered frame: join it before splitting')
  const parts = partsOf(whole)
  const words = parts.map(({ data }) => data.length / 4)
  const head = headerLength(parts.length, whole.ranks.length, whole.scalars.length)
  const fits = (total: number): boolean =>
    words.reduce((sum, w) => sum + partLength(4 * share(w, 0, total)), head) <= maxBytes
  checkRoom(maxBytes, head + PART_AT.data * parts.length)
  let [few, enough] = [1, words.reduce((most, w) => Math.max(most, w), 1)]
  if (!fits(enough)) throw tooSmall(maxBytes)
  while (few + 1 < enough) {
    const middle = Math.floor((few + enough) / 2)
    if (fits(middle)) enough = middle
    else few = middle
  }
  const at = words.map(() => 0)
  return Array.from({ length: enough }, (_, offset) => {
    const pieces = parts.map((part, i) => {
      const from = at[i]!
      at[i] = from + 4 * share(words[i]!, offset, enough)
      return { ...part, data: part.data.subarray(from, at[i]) }
    })
    const scalars = offset === 0 ? whole.scalars : new Float32Array(0)
    return gathered({ ...whole, total: enough, offset, scalars }, pieces)
  })
}

/** `joinSlices` for the slices of a gathered frame, which are complete and in order. */
function joinParts(slices: readonly Frame[]): Bytes {
  const first = slices[0]!
  const pieces = slices.map(partsOf)
  const whole = pieces[0]!.map((part, i): PackedPart => {
    const shares = pieces.map((slice) => slice[i]!)
    const words = shares.reduce((sum, { data }) => sum + data.length / 4, 0)
    const data = new Uint8Array(4 * words)
    let at = 0
    for (const [offset, piece] of shares.entries()) {
      const byte = piece.at - PART_AT.data
      if (piece.weight !== part.weight || piece.type !== part.type) {
        throw new FrameError(`part of sender ${part.sender}: weight or type differ`, byte)
      }
      const want = 4 * share(words, offset, first.total)
      if (piece.data.length !== want) {
        const got = piece.data.length
        throw new FrameError(`part, length: expected ${want}, got ${got}`, byte + PART_AT.length)
      }
      data.set(piece.data, at)
      at += want
    }
    // Nobody could check this part before. It must not make the whole frame useless, so it becomes
    // an empty one, which no method accepts.
    return { ...part, data: faultIn({ ...part, data }) ? emptyData() : data }
  })
  return gathered({ ...first, total: 1 }, whole)
}

function gathered(header: Header, parts: readonly PackedPart[]): Bytes {
  const { bytes, values } = beginFrame(header, partsLength(parts))
  writeParts(parts, values)
  return sealFrame(bytes)
}

/** @throws RangeError  if slices would consist of their headers for the most part */
function checkRoom(maxBytes: number, header: number): void {
  const least = 2 * header - 256
  if (maxBytes >= least) return
  throw new RangeError(
    `"maxBytes": expected ${least} or more, for each slice repeats ${header} bytes of senders, ` +
      `ranks and the like, got ${maxBytes}`,
  )
}

function tooSmall(room: number): RangeError {
  return new RangeError(
    `"maxBytes": too small, ${Math.max(0, room)} bytes cannot hold the next value, block or word`,
  )
}

/** The values of one slice. */
interface Cut {
  /** the byte of the encoded values at which it begins */
  at: number
  /** its bytes */
  length: number
  /** the index of its first value */
  offset: number
  /** its values */
  count: number
}

/**
 * Divides the values of a frame.
 *
 * @param first  bytes of values that the first slice has room for
 * @param later  the same for the other slices, which have no scalars
 * @throws RangeError  if not even one value or block fits
 */
function cutsOf({ type, values, count }: Frame, first: number, later: number): Cut[] {
  const wire = wireType(type)
  const cuts: Cut[] = []
  let cut: Cut = { at: 0, length: 0, offset: 0, count: 0 }
  for (let done = 0, at = 0; done < count; ) {
    const room = cuts.length === 0 ? first : later
    const piece = wire.pieceAt(values, at, count - done, room)
    if (piece.count < 1 || piece.length > room) throw tooSmall(room)
    if (cut.length + piece.length > room) {
      cuts.push(cut)
      cut = { at, length: 0, offset: done, count: 0 }
      continue
    }
    cut.length += piece.length
    cut.count += piece.count
    at += piece.length
    done += piece.count
  }
  return [...cuts, cut]
}
