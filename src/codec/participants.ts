// The frames that have been counted in a round, by sender: refuses those that do not belong to it,
// and recognises those that are there already.
import { FrameError } from '../errors.ts'
import { type Frame, readHeader } from './frame.ts'
import { AT, type Header, MAX_WEIGHT, senderAt } from './header.ts'
import { assertSameCut } from './match.ts'

/** The frames counted in one round. All must match the first one. */
export interface Participants {
  /** the header of the first frame, which the others must match; null while there is none */
  readonly header: Header | null
  /**
   * Whether this frame is to be counted. False if it has been counted already: if its checksum, its
   * length and its senders are those of a counted frame. A frame of weight 0 has no sender, so that
   * it is never recognised, and changes nothing.
   *
   * @throws FrameError  if it does not match the first frame, has a weight but no sender, or has a
   *   sender of another frame
   */
  admits(frame: Frame): boolean
  /** Counts a frame, after `admits` has returned true. */
  enter(frame: Frame): void
  /** The senders of all frames, ascending. */
  senders(): Uint32Array
  /**
   * The sum of the weights, added in the order of first senders: it does not depend on the calls'
   * order.
   */
  weight(): number
  clear(): void
}

interface Entry {
  readonly senders: Uint32Array
  readonly weight: number
  readonly checksum: number
  readonly length: number
}

export function createParticipants(): Participants {
  let header: Header | null = null
  let entries: Entry[] = []
  const entryOf = new Map<number, Entry>()
  let sum = 0 // of the weights, in the order of the calls
  return {
    get header() {
      return header
    },
    admits(frame) {
      if (header) assertSameCut(header, frame)
      if (frame.weight === 0) return true
      if (frame.senders.length === 0) {
        throw new FrameError('an anonymous mean cannot be aggregated: no senders', AT.senders)
      }
      for (const [i, sender] of frame.senders.entries()) {
        const entry = entryOf.get(sender)
        if (!entry) continue
        if (i === 0 && isFrame(entry, frame)) return false
        throw duplicateSender(sender, i)
      }
      // A bit less than MAX_WEIGHT, since another order may round up. Float32 weights do not reach
      // it.
      if (sum + frame.weight > MAX_WEIGHT * (1 - 2 ** -24)) {
        throw new FrameError(`weight: the sum would be ${sum + frame.weight}`, AT.weight)
      }
      return true
    },
    enter({ bytes, senders, weight, checksum }) {
      header ??= readHeader(bytes)
      if (weight === 0) return
      const entry = { senders, weight, checksum, length: bytes.length }
      entries.push(entry)
      for (const sender of senders) entryOf.set(sender, entry)
      sum += weight
    },
    senders: () => Uint32Array.from(entryOf.keys()).sort(),
    weight() {
      entries.sort((a, b) => a.senders[0]! - b.senders[0]!)
      return entries.reduce((total, entry) => total + entry.weight, 0)
    },
    clear() {
      header = null
      entries = []
      entryOf.clear()
      sum = 0
    },
  }
}

/** The error for a frame whose i-th sender has been counted already. */
export function duplicateSender(sender: number, i: number): FrameError {
  return new FrameError(
    `sender ${sender} occurs twice: give each worker its own \`sender\` number`,
    senderAt(i),
  )
}

/** Whether the entry is that of this very frame. */
function isFrame(entry: Entry, frame: Frame): boolean {
  return (
    entry.checksum === frame.checksum &&
    entry.length === frame.bytes.length &&
    entry.senders.length === frame.senders.length &&
    entry.senders.every((sender, i) => sender === frame.senders[i])
  )
}
