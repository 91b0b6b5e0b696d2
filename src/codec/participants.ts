// The frames that have been counted in a round, by sender: refuses those that do not belong to it,
// and recognises those that are there already.
import { FrameError } from '../errors.ts'
import { type Frame, readHeader } from './frame.ts'
import { AT, type Header, MAX_WEIGHT, namesOf, senderAt } from './header.ts'
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
  /** by first sender */
  const entries = new Map<number, Entry>()
  /**
   * All senders, in ascending lists, each at least twice as long as the next. So there are few
   * lists, and a sender is seldom copied. (A Map of all senders ends at 2²⁴, which one frame can
   * have.)
   */
  let lists: Uint32Array[] = []
  let sum = 0 // of the weights, in the order of the calls
  return {
    get header() {
      return header
    },
    admits(frame) {
      if (header) assertSameCut(header, frame, `, from ${namesOf(frame.senders)}`)
      if (frame.weight === 0) return true
      const { senders } = frame
      if (senders.length === 0) {
        throw new FrameError('an anonymous mean cannot be aggregated: no senders', AT.senders)
      }
      const entry = entries.get(senders[0]!)
      if (entry && isFrame(entry, frame)) return false
      const i = senders.findIndex((sender) => lists.some((list) => has(list, sender)))
      if (i >= 0) {
        throw new FrameError(
          `sender ${senders[i]} occurs twice: give each worker its own \`sender\` number`,
          senderAt(i),
        )
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
      entries.set(senders[0]!, { senders, weight, checksum, length: bytes.length })
      sum += weight
      let last = senders
      while (lists.length > 0 && lists.at(-1)!.length < 2 * last.length) {
        last = union(lists.pop()!, last)
      }
      lists.push(last)
    },
    senders: () => lists.reduceRight(union, new Uint32Array(0)),
    weight() {
      const sorted = [...entries.values()].sort((a, b) => a.senders[0]! - b.senders[0]!)
      return sorted.reduce((total, entry) => total + entry.weight, 0)
    },
    clear() {
      header = null
      entries.clear()
      lists = []
      sum = 0
    },
  }
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

/** Whether an ascending list has this number. */
function has(list: Uint32Array, number: number): boolean {
  let [from, end] = [0, list.length]
  while (from < end) {
    const middle = (from + end) >>> 1
    if (list[middle]! < number) from = middle + 1
    else end = middle
  }
  return list[from] === number
}

/** The numbers of two ascending lists, which have none in common, in ascending order. */
function union(a: Uint32Array, b: Uint32Array): Uint32Array {
  const all = new Uint32Array(a.length + b.length)
  for (let i = 0, j = 0, to = 0; to < all.length; to++) {
    all[to] = j === b.length || a[i]! < b[j]! ? a[i++]! : b[j++]!
  }
  return all
}
