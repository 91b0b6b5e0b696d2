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
  codesIn(views: ChunkViews): Codes
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
   * The first of a run's n codes that is not valid, or, if `zero`, whose value is not zero. The
   * scale is valid.
   *
   * @returns its offset from the first code, in bytes; NaN if there is none
   */
  firstInvalid(run: Run<Codes>, n: number, zero: boolean): number
  /** floats[to + i] ← the value of the run's i-th code, for i from 0 to n − 1 */
  decode(run: Run<Codes>, n: number, floats: Float32Array, to: number): void
  /** sums[to + i] += the value of the run's i-th code · weight, for i from 0 to n − 1 */
  addOne(sums: Float64Array, to: number, n: number, run: Run<Codes>, weight: number): void
  /** The same for four runs. */
  addFour(
    sums: Float64Array,
    to: number,
    n: number,
    a: Run<Codes>,
    b: Run<Codes>,
    c: Run<Codes>,
    d: Run<Codes>,
    weights: readonly number[],
  ): void
}

/** Codes that lie one after another in one block. */
export interface Run<Codes> {
  readonly codes: Codes
  /** the buffer that has them */
  readonly views: ChunkViews
  /** the index of the first one in `codes` */
  readonly at: number
  /** the scale of their block */
  readonly scale: number
}

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
      const blocks = new Blocks(bytes, format)
      for (let to = 0; to < count; ) {
        const n = blocks.next(count - to)
        format.decode(blocks, n, into, to)
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
      const blocks = new Blocks(bytes, format)
      for (let left = count; left > 0; ) {
        const n = blocks.next(left)
        const bad = blocks.scale >= 0 ? format.firstInvalid(blocks, n, zero) : SCALE_AT - codesAt
        if (!Number.isNaN(bad)) return blocks.offset + bad
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

/**
 * An iterator over the values of blocks that `lengthIn` has accepted, in runs within one block. It
 * copies some blocks at a time to a buffer in which codes are aligned, as chunks.ts does.
 */
class Blocks<Codes> implements Run<Codes> {
  readonly codes: Codes
  readonly views: ChunkViews
  at = 0
  scale = 0
  readonly #bytes: Uint8Array
  readonly #format: BlockFormat<Codes>
  readonly #view: DataView
  /** bytes of a full block */
  readonly #full: number
  /** the offset of the buffer's first byte in `#bytes` */
  #from = 0
  /** how many bytes have been copied to the buffer */
  #filled = 0
  /** the byte of the buffer after the run */
  #end = 0
  /** values of the block after the run */
  #left = 0

  constructor(bytes: Uint8Array, format: BlockFormat<Codes>) {
    this.#bytes = bytes
    this.#format = format
    this.#full = format.codesAt + format.size * format.block
    this.views = createChunk(Math.min(BUFFERED * this.#full, bytes.length))
    this.#view = dataView(this.views.bytes)
    this.codes = format.codesIn(this.views)
  }

  /** The byte at which the codes of the run begin. */
  get offset(): number {
    return this.#from + this.at * this.#format.size
  }

  /**
   * Goes to the next run, and returns its length, at least 1.
   *
   * @param most  the length at most, ≥ 1
   */
  next(most: number): number {
    const { size, codesAt } = this.#format
    if (this.#left === 0) {
      if (this.#end + this.#full > this.#filled) this.#fill()
      this.#left = this.views.bytes[this.#end]! + 1
      this.scale = this.#format.scaleIn(this.#view, this.#end + SCALE_AT)
      this.#end += codesAt
    }
    const n = Math.min(this.#left, most)
    this.at = this.#end >> (size - 1)
    this.#left -= n
    this.#end += size * n
    return n
  }

  /** Shortens the run by n values, which the next run begins with. */
  back(n: number): void {
    this.#left += n
    this.#end -= this.#format.size * n
  }

  /** Copies the next blocks to the beginning of the buffer. */
  #fill(): void {
    const { bytes } = this.views
    this.#from += this.#end
    this.#end = 0
    const chunk = this.#bytes.subarray(this.#from, this.#from + bytes.length)
    bytes.set(chunk)
    this.#filled = chunk.length
  }
}

/** Full blocks that are copied at a time. */
const BUFFERED = 8

function one<Codes>({ values, weight }: Summand, format: BlockFormat<Codes>): Accumulator {
  const blocks = new Blocks(values, format)
  return (sums, n) => {
    for (let to = 0; to < n; ) {
      const some = blocks.next(n - to)
      format.addOne(sums, to, some, blocks, weight)
      to += some
    }
  }
}

function four<Codes>(summands: readonly Summand[], format: BlockFormat<Codes>): Accumulator {
  const weights = summands.map(({ weight }) => weight)
  const [a, b, c, d] = summands.map(({ values }) => new Blocks(values, format))
  return (sums, n) => {
    for (let to = 0; to < n; ) {
      const inA = a!.next(n - to)
      const inB = b!.next(inA)
      const inC = c!.next(inB)
      const some = d!.next(inC)
      a!.back(inA - some) // 0 values, unless the frames' blocks end at different values
      b!.back(inB - some)
      c!.back(inC - some)
      format.addFour(sums, to, some, a!, b!, c!, d!, weights)
      to += some
    }
  }
}
