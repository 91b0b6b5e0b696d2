// Frames in slices, for transports with a limit.
import { FrameError } from '../errors.ts'
import { beginFrame, decodeFrame, type Frame, sealFrame } from './frame.ts'
import { type PackedPart, partLength, partsLength, partsOf, writeParts } from './gathered.ts'
import { AT, type Header, headerLength, PART_AT } from './header.ts'
import { assertSameFrame } from './match.ts'
import { wireType } from './wire/index.ts'

/**
 * Cuts a frame into slices for a transport with a limit: frames themselves, with the same senders
 * and weight. They can be aggregated slice by slice, and `join`ed in any order.
 *
 * Frames of one round, one wire type and one number of senders are cut at the same values; one
 * without senders is cut as if it had one, so that it fits between those of its round. (A gathered
 * frame is cut into as many slices as its own length asks for.)
 *
 * @param frame  whole or, if its values are summed, itself a slice
 * @param maxBytes  of a slice, header included
 * @returns the slices in order; [frame] if it fits
 * @throws RangeError  if not one value, or one int8 block, or one word of each part, fits
 * @throws FrameError  if the frame is spoilt
 */
export function splitFrame(frame: Uint8Array, maxBytes: number): Uint8Array[] {
  if (!(Number.isInteger(maxBytes) && maxBytes > 0)) {
    throw new RangeError(`"maxBytes": expected a positive integer, got ${maxBytes}`)
  }
  const whole = decodeFrame(frame)
  const { senders, ranks, scalars } = whole
  const named = Math.max(1, senders.length)
  if (frame.length + 4 * (named - senders.length) <= maxBytes) return [frame]
  if (whole.kind === 'gathered') return splitParts(whole, maxBytes)
  const first = headerLength(named, ranks.length, scalars.length)
  if (whole.count === 0) throw tooSmall(maxBytes)
  const cuts = cutsOf(whole, maxBytes - first, maxBytes - headerLength(named, ranks.length, 0))
  return cuts.map(({ at, length, offset, count }) => {
    const own = offset === 0 ? scalars : new Float32Array(0)
    const header = { ...whole, scalars: own, offset: whole.offset + offset, count }
    const { bytes, values } = beginFrame(header, length)
    values.set(whole.values.subarray(at, at + length))
    return sealFrame(bytes)
  })
}

/**
 * Puts the slices of one frame together again, whatever order they are in.
 *
 * @returns the whole frame, as it was before `split`
 * @throws RangeError  if there are none
 * @throws FrameError  if one is spoilt, missing or there twice, or is of another frame: a step must
 *   not count in half, so all slices have the same senders, weight and parent
 */
export function joinSlices(frames: readonly Uint8Array[]): Uint8Array {
  if (frames.length === 0) throw new RangeError('"frames": expected at least one slice, got none')
  const slices = frames.map(decodeFrame).sort((a, b) => a.offset - b.offset)
  const first = slices[0]!
  let next = 0
  for (const slice of slices) {
    assertSameFrame(first, slice)
    if (slice.offset !== next) {
      const what = slice.offset < next ? 'overlaps another' : 'lacks the one before it'
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
  if (slices.length === 1) return frames[0]!
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

/** Words of a part's data, `words` long, that slice `offset` of `total` gets: see header.ts. */
function share(words: number, offset: number, total: number): number {
  return Math.floor(words / total) + (offset < words % total ? 1 : 0)
}

function splitParts(whole: Frame, maxBytes: number): Uint8Array[] {
  if (whole.total > 1) throw new RangeError('a slice of a gathered frame: join it before splitting')
  const all = partsOf(whole)
  const words = all.map(({ data }) => data.length / 4)
  const head = headerLength(all.length, whole.ranks.length, whole.scalars.length)
  const fits = (total: number): boolean =>
    words.reduce((sum, w) => sum + partLength(4 * share(w, 0, total)), head) <= maxBytes
  let [few, enough] = [1, words.reduce((most, w) => Math.max(most, w), 1)]
  if (!fits(enough)) throw tooSmall(maxBytes)
  while (few + 1 < enough) {
    const middle = Math.floor((few + enough) / 2)
    if (fits(middle)) enough = middle
    else few = middle
  }
  const at = words.map(() => 0)
  return Array.from({ length: enough }, (_, offset) => {
    const pieces = all.map((part, i) => {
      const from = at[i]!
      at[i] = from + 4 * share(words[i]!, offset, enough)
      return { ...part, data: part.data.subarray(from, at[i]) }
    })
    const scalars = offset === 0 ? whole.scalars : new Float32Array(0)
    return gathered({ ...whole, total: enough, offset, scalars }, pieces)
  })
}

function joinParts(slices: readonly Frame[]): Uint8Array {
  const first = slices[0]!
  const pieces = slices.map(partsOf)
  const whole = pieces[0]!.map((part, i): PackedPart => {
    const own = pieces.map((slice) => slice[i]!)
    const words = own.reduce((sum, { data }) => sum + data.length / 4, 0)
    const data = new Uint8Array(4 * words)
    let at = 0
    for (const [offset, piece] of own.entries()) {
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
    return { ...part, data }
  })
  return gathered({ ...first, total: 1 }, whole)
}

function gathered(header: Header, all: readonly PackedPart[]): Uint8Array {
  const { bytes, values } = beginFrame(header, partsLength(all))
  writeParts(all, values)
  return sealFrame(bytes)
}

function tooSmall(room: number): RangeError {
  return new RangeError(
    `"maxBytes": too small, ${Math.max(0, room)} bytes cannot hold the next value, block or word`,
  )
}

interface Cut {
  /** where it begins among the encoded values, and how many bytes it has */
  at: number
  length: number
  /** its first value, and how many it has */
  offset: number
  count: number
}

/** Where to cut if the first slice has room for `first` bytes of values and the others for `later`. */
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
