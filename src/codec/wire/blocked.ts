// The common part of wire types that encode values in blocks which share a scale.
//
//   byte  size  field of a block
//      0     1  n − 1
//      1     …  scale
//      …     …  n codes; value = scale · code
//
// A full block has as many values as the type says; the last block of a segment has the rest.
import { CHUNK_VALUES, type ChunkViews, room } from '../loops.ts'
import type { WireType } from './wire-type.ts'

/** The byte of a block at which its scale begins. */
export const SCALE_AT = 1

/**
 * What differs between blocked types, whose codes are in arrays of type `Codes`. Its loops are for
 * hosts where those in WebAssembly cannot be compiled.
 */
export interface BlockFormat<Codes> {
  readonly id: number
  /** values of a full block */
  readonly block: number
  /** the byte of a block at which its codes begin, a multiple of `size` */
  readonly codesAt: number
  /** bytes of a code */
  readonly size: 1 | 2
  codedIn(views: ChunkViews): Codes
  /** The scale of a block, in float64; NaN if it is not valid. @param at  the byte of the scale */
  scaleIn(view: DataView, at: number): number
  /** The scale for a block with this largest |x|. */
  scaleFor(most: number): number
  writeScale(scale: number, view: DataView, at: number): void
  /** Encodes n floats of a chunk, which may be overwritten, from the run's first code on. */
  encode(x: ChunkViews, from: number, n: number, scale: number, into: Run<Codes>): void
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
  add(sums: Float64Array, to: number, n: number, run: Run<Codes>, weight: number): void
}

/** Codes that lie one after another in one block. */
export interface Run<Codes> {
  readonly coded: Codes
  /** the index of the first one in `coded` */
  readonly at: number
  /** the scale of their block */
  readonly scale: number
}

/** The fields of a blocked wire type, except its name. */
export function blocked<Codes>(format: BlockFormat<Codes>) {
  const { id, block, codesAt, size } = format
  const full = codesAt + size * block
  const leastLength = (count: number) => size * count + codesAt * Math.ceil(count / block)
  return {
    id,
    leastLength,
    fixedLength: false,
    encodedLength: (segments) => segments.reduce((sum, length) => sum + leastLength(length), 0),
    encode(values, segments, into) {
      const { loops, x, y } = room()
      const coded = format.codedIn(y)
      let from = 0
      let at = 0
      for (const length of segments) {
        for (const end = from + length; from < end; ) {
          // As many blocks at once as there is room for.
          const some = Math.min(CHUNK_VALUES, end - from)
          x.floats.set(values.subarray(from, from + some))
          let to = 0
          for (let first = 0; first < some; first += block) {
            const n = Math.min(block, some - first)
            const codes = to + codesAt
            const most = loops ? loops.largest(x.at + 4 * first, n) : largestOf(x.floats, first, n)
            const scale = format.scaleFor(most)
            y.bytes[to] = n - 1
            format.writeScale(scale, y.view, to + SCALE_AT)
            if (loops) loops.encode(id, y.at + codes, x.at + 4 * first, n, scale)
            else format.encode(x, first, n, scale, { coded, at: codes / size, scale })
            to = codes + size * n
          }
          into.set(y.bytes.subarray(0, to), at)
          at += to
          from += some
        }
      }
    },
    decode(bytes, count, into) {
      const { loops, y } = room()
      const blocks = readBlocks(bytes, format)
      for (let from = 0; from < count; from += CHUNK_VALUES) {
        const most = Math.min(CHUNK_VALUES, count - from)
        for (let to = 0; to < most; ) {
          const n = blocks.next(most - to)
          const { run } = blocks
          if (loops) loops.decode(id, y.at + 4 * to, blocks.address(), n, run.scale)
          else format.decode(run, n, y.floats, to)
          to += n
        }
        into.set(y.floats.subarray(0, most), from)
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
    accumulate(values, weight) {
      const { loops, sums } = room()
      const blocks = readBlocks(values, format)
      return (n) => {
        blocks.resume()
        for (let to = 0; to < n; ) {
          const some = blocks.next(n - to)
          const { run } = blocks
          const at = sums.byteOffset + 8 * to
          if (loops) loops.add(id, at, blocks.address(), some, run.scale, weight)
          else format.add(sums, to, some, run, weight)
          to += some
        }
      }
    },
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
  /** To be called before `next` after the codec's room may have been used for something else. */
  resume(): void
  /** The byte at which the codes of the run begin. */
  offset(): number
  /** Their address in the codec's room. */
  address(): number
}

/**
 * Reads blocks that `lengthIn` has accepted. It copies some blocks at a time to the codec's room,
 * where codes are aligned, as chunks.ts does.
 */
function readBlocks<Codes>(
  bytes: Uint8Array,
  { block, codesAt, size, codedIn, scaleIn }: BlockFormat<Codes>,
): Reader<Codes> {
  const { x } = room()
  const full = codesAt + size * block
  const copied = (full * CHUNK_VALUES) / block
  const run = { coded: codedIn(x), at: 0, scale: 0 }
  let at = 0 // the byte after the run
  let left = 0 // values of its block after it
  let from = 0 // the byte of which the room's first one is a copy
  let end = 0 // the byte after the copied ones
  return {
    run,
    next(most) {
      if (at + full > end) {
        const chunk = bytes.subarray(at, at + copied)
        x.bytes.set(chunk)
        from = at
        end = at + chunk.length
      }
      if (left === 0) {
        left = x.bytes[at - from]! + 1
        run.scale = scaleIn(x.view, at - from + SCALE_AT)
        at += codesAt
      }
      const n = Math.min(left, most)
      run.at = (at - from) / size
      left -= n
      at += size * n
      return n
    },
    resume() {
      end = 0
    },
    offset: () => from + size * run.at,
    address: () => x.at + size * run.at,
  }
}

/** The largest |x| of n values. */
function largestOf(values: Float32Array, from: number, n: number): number {
  let most = 0
  for (let i = from; i < from + n; i++) most = Math.max(most, Math.abs(values[i]!))
  return most
}

/** The nearest integer, ties to even: from 2⁵² on, a float64 has no fractional digits. */
export function roundEven(x: number): number {
  return x + 1.5 * 2 ** 52 - 1.5 * 2 ** 52
}
