// The common part of wire types that encode values in blocks which share a scale.
//
//   byte  size  field of a block
//      0     1  n − 1
//      1     …  scale
//      …     …  n codes; value = scale · code
//
// A full block has as many values as the type says; the last block of a segment has the rest.
import { dataView } from '../../bytes.ts'
import { type ChunkViews, createChunk } from '../chunks.ts'
import type { Accumulator, Summand, WireType } from './wire-type.ts'

/** The byte of a block at which its scale begins. */
export const SCALE_AT = 1

/** What differs between blocked types, whose codes are in arrays of type `Codes`. */
export interface BlockFormat<Codes> {
  /** values of a full block */
  readonly block: number
  /** the byte of a block at which its codes begin, a multiple of `size` */
  readonly codesAt: number
  /** bytes of a code */
  readonly size: 1 | 2
  codedIn(views: ChunkViews): Codes
  /** The scale of a block, in float64; NaN if it is not valid. @param at  the byte of the scale */
  scaleIn(view: DataView, at: number): number
  /**
   * Returns a function that encodes a block of n values: it writes its scale and codes.
   *
   * @param from  the index of the first value
   * @param at  the byte of `into` at which the scale begins
   */
  encoder(values: Float32Array, into: Uint8Array): (from: number, n: number, at: number) => void
  /**
   * Finds the first of n codes that is not valid; or, if `zero`, whose value is not zero. The scale
   * is valid.
   *
   * @returns its offset from the first code, or that of the scale, in bytes; null if there is none
   */
  firstInvalid(run: Run<Codes>, n: number, zero: boolean): number | null
  /** floats[to + i] ← the value of the run's i-th code, for i from 0 to n − 1 */
  decode(run: Run<Codes>, n: number, floats: Float32Array, to: number): void
  /** sums[to + i] += the value of the run's i-th code · weight, for i from 0 to n − 1 */
  addOne(sums: Float64Array, to: number, n: number, run: Run<Codes>, weight: number): void
  /** The same for four runs. */
  addFour(
    sums: Float64Array,
    to: number,
    n: number,
    runs: FourRuns<Codes>,
    weights: readonly number[],
  ): void
}

/** Codes that lie one after another in one block. */
export interface Run<Codes> {
  readonly coded: Codes
  /** the index of the first one in `coded` */
  readonly at: number
  /** the scale of their block */
  readonly scale: number
}

export type FourRuns<Codes> = readonly [Run<Codes>, Run<Codes>, Run<Codes>, Run<Codes>]

/** The fields of a blocked wire type, except name and id. */
export function blocked<Codes>(format: BlockFormat<Codes>) {
  const { block, codesAt, size } = format
  const full = codesAt + size * block
  const leastLength = (count: number) => size * count + codesAt * Math.ceil(count / block)
  return {
    leastLength,
    fixedLength: false,
    encodedLength: (segments) => segments.reduce((sum, length) => sum + leastLength(length), 0),
    encode(values, segments, into) {
      const write = format.encoder(values, into)
      let from = 0
      let at = 0
      for (const length of segments) {
        for (const end = from + length; from < end; ) {
          const n = Math.min(block, end - from)
          into[at] = n - 1
          write(from, n, at + SCALE_AT)
          at += codesAt + size * n
          from += n
        }
      }
    },
    decode(bytes, count, into) {
      const blocks = readBlocks(bytes, format)
      for (let to = 0; to < count; ) {
        const n = blocks.next(count - to)
        format.decode(blocks.run, n, into, to)
        to += n
      }
    },
    lengthIn(bytes, count) {
      let at = 0
      let left = count
      while (left > 0) {
        // Four full blocks at once: the four reads do not depend on each other. The first byte of a
        // block says where it ends, and reading these one after another from far memory takes 17 ns
        // each.
        if (left >= 4 * block && at + 4 * full <= bytes.length) {
          const [a, b, c, d] = [at, at + full, at + 2 * full, at + 3 * full]
          const most = block - 1
          if (bytes[a] === most && bytes[b] === most && bytes[c] === most && bytes[d] === most) {
            at += 4 * full
            left -= 4 * block
            continue
          }
        }
        if (at + codesAt > bytes.length) return -1 - bytes.length
        const n = bytes[at]! + 1
        if (n > block || n > left) return -1 - at
        at += codesAt + size * n
        if (at > bytes.length) return -1 - bytes.length
        left -= n
      }
      return at
    },
    firstInvalid(bytes, count, zero = false) {
      const blocks = readBlocks(bytes, format)
      for (let left = count; left > 0; ) {
        const n = blocks.next(left)
        const { run } = blocks
        const bad = run.scale >= 0 ? format.firstInvalid(run, n, zero) : SCALE_AT - codesAt
        if (bad !== null) return blocks.offset() + bad
        left -= n
      }
      return -1
    },
    pieceAt(bytes, at) {
      const count = bytes[at]! + 1
      return { count, length: codesAt + size * count }
    },
    accumulate: (summands) =>
      summands.length === 4 ? four(summands, format) : one(summands[0]!, format),
  } satisfies Partial<WireType>
}

/** A place in the values of blocks: `run` is the run that `next` went to. */
interface Reader<Codes> {
  readonly run: Run<Codes>
  /**
   * Goes to the next run within one block, and returns its length, at least 1.
   *
   * @param most  the length at most, ≥ 1
   */
  next(most: number): number
  /** Shortens the run by n values, which the next run begins with. */
  back(n: number): void
  /** The byte at which the codes of the run begin. */
  offset(): number
}

/**
 * Reads blocks that `lengthIn` has accepted. It copies some blocks at a time to a buffer in which
 * codes are aligned, as chunks.ts does.
 */
function readBlocks<Codes>(
  bytes: Uint8Array,
  { block, codesAt, size, codedIn, scaleIn }: BlockFormat<Codes>,
): Reader<Codes> {
  const full = codesAt + size * block
  const views = createChunk(Math.min(BUFFERED * full, bytes.length))
  const view = dataView(views.bytes)
  const run = { coded: codedIn(views), at: 0, scale: 0 }
  let from = 0 // the offset of the buffer's first byte in `bytes`
  let filled = 0 // bytes in the buffer
  let end = 0 // the byte of the buffer after the run
  let left = 0 // values of the block after the run
  return {
    run,
    next(most) {
      if (left === 0) {
        if (end + full > filled) {
          from += end
          end = 0
          const chunk = bytes.subarray(from, from + views.bytes.length)
          views.bytes.set(chunk)
          filled = chunk.length
        }
        left = views.bytes[end]! + 1
        run.scale = scaleIn(view, end + SCALE_AT)
        end += codesAt
      }
      const n = Math.min(left, most)
      run.at = end >> (size - 1)
      left -= n
      end += size * n
      return n
    },
    back(n) {
      left += n
      end -= size * n
    },
    offset: () => from + size * run.at,
  }
}

/** Full blocks that are copied at a time. */
const BUFFERED = 8

function one<Codes>({ values, weight }: Summand, format: BlockFormat<Codes>): Accumulator {
  const blocks = readBlocks(values, format)
  return (sums, n) => {
    for (let to = 0; to < n; ) {
      const some = blocks.next(n - to)
      format.addOne(sums, to, some, blocks.run, weight)
      to += some
    }
  }
}

function four<Codes>(summands: readonly Summand[], format: BlockFormat<Codes>): Accumulator {
  const weights = summands.map(({ weight }) => weight)
  const [a, b, c, d] = summands.map(({ values }) => readBlocks(values, format))
  const runs = [a!.run, b!.run, c!.run, d!.run] as const
  return (sums, n) => {
    for (let to = 0; to < n; ) {
      const inA = a!.next(n - to)
      const inB = b!.next(inA)
      const inC = c!.next(inB)
      const some = d!.next(inC)
      a!.back(inA - some) // 0 values, unless the frames' blocks end at different values
      b!.back(inB - some)
      c!.back(inC - some)
      format.addFour(sums, to, some, runs, weights)
      to += some
    }
  }
}

/** The largest |x| of n values. */
export function largestOf(values: Float32Array, from: number, n: number): number {
  let most = 0
  for (let i = from; i < from + n; i++) most = Math.max(most, Math.abs(values[i]!))
  return most
}

/** The nearest integer, ties to even: from 2⁵² on, a float64 has no fractional digits. */
export function roundEven(x: number): number {
  return x + 1.5 * 2 ** 52 - 1.5 * 2 ** 52
}
