// Who is in a round: which frames belong together, and which have already been counted.
import { FrameError } from '../errors.ts'
import { type Frame, readHeader } from './frame.ts'
import { AT, type Header, MAX_WEIGHT, senderAt } from './header.ts'
import { assertSameCut } from './match.ts'

/** The frames of one round that have been counted. The first one decides what the others must be. */
export interface Participants {
  /** of the first frame: what every other is compared with; null while there is none */
  readonly header: Header | null
  /**
   * May this frame be counted? False if it already is: the same bytes, by checksum and senders. A
   * frame of weight 0 names nobody, so one is like another: it is welcome any number of times.
   *
   * @throws FrameError  if it is unlike the first, names no sender, or one who is in with other bytes
   */
  admits(frame: Frame): boolean
  /** Counts a frame that was admitted. */
  enter(frame: Frame): void
  /** Senders of all frames, ascending. */
  senders(): Uint32Array
  /** The frames' weights, added in the order of their first senders: the same in any order of entry. */
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
  let soFar = 0
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
      // The sum depends on the order, hence some room: no sum of float32 weights reaches it.
      if (soFar + frame.weight > MAX_WEIGHT * (1 - 2 ** -24)) {
        throw new FrameError(`weight: the sum would be ${soFar + frame.weight}`, AT.weight)
      }
      return true
    },
    enter({ bytes, senders, weight, checksum }) {
      header ??= readHeader(bytes)
      if (weight === 0) return
      const entry = { senders, weight, checksum, length: bytes.length }
      entries.push(entry)
      for (const sender of senders) entryOf.set(sender, entry)
      soFar += weight
    },
    senders: () => Uint32Array.from(entryOf.keys()).sort(),
    weight() {
      entries.sort((a, b) => a.senders[0]! - b.senders[0]!)
      return entries.reduce((sum, entry) => sum + entry.weight, 0)
    },
    clear() {
      header = null
      entries = []
      entryOf.clear()
      soFar = 0
    },
  }
}

/** The error about the i-th sender of a frame, who is in already. */
export function duplicateSender(sender: number, i: number): FrameError {
  return new FrameError(
    `sender ${sender} occurs twice: give each worker its own \`sender\` number`,
    senderAt(i),
  )
}

function isFrame(entry: Entry, frame: Frame): boolean {
  return (
    entry.checksum === frame.checksum &&
    entry.length === frame.bytes.length &&
    entry.senders.length === frame.senders.length &&
    entry.senders.every((sender, i) => sender === frame.senders[i])
  )
}
