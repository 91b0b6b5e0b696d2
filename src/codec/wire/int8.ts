// int8: signed bytes in blocks that share a scale.
//
//   byte  size  field of a block
//      0     1  n − 1, where n is 1 … 64
//      1     4  scale: f32
//      5     n  signed bytes; value = scale · byte, rounded to float32
//
// The scale is max|x| / 127 over the block, rounded up if that is subnormal. The error of a value
// is at most half the scale. Values beyond 127 / 128 of 2⁶⁴ saturate.
import { dataView } from '../../bytes.ts'
import { type Accumulator, LIMIT, type Summand, type WireType } from './wire-type.ts'

/** Values of a full block. The last block of a segment has the remaining values. */
const BLOCK = 64

/** The byte at which each field of a block begins. */
const BLOCK_AT = { count: 0, scale: 1, values: 5 } as const

/** Bytes of a full block. */
const FULL_BLOCK = BLOCK_AT.values + BLOCK

/**
 * The largest scale. Times 128, the largest absolute value of a signed byte, it is the largest
 * float32 below `LIMIT`.
 */
const MAX_SCALE = (LIMIT / 128) * (1 - 2 ** -24)

export const int8: WireType<'int8'> = {
  name: 'int8',
  id: 3,
  leastLength: (count) => count + BLOCK_AT.values * Math.ceil(count / BLOCK),
  fixedLength: false,
  encodedLength: (segments) => segments.reduce((sum, length) => sum + int8.leastLength(length), 0),
  encode,
  decode(bytes, count, into) {
    const blocks = new Blocks(bytes)
    for (let to = 0; to < count; ) {
      const n = blocks.next(count - to)
      scaled(blocks.bytes, blocks.at, n, blocks.scale, into, to)
      to += n
    }
  },
  lengthIn,
  firstInvalid(bytes, count, zero = false) {
    const view = dataView(bytes)
    for (let left = count, at = 0; left > 0; ) {
      const n = bytes[at + BLOCK_AT.count]! + 1
      const scale = view.getFloat32(at + BLOCK_AT.scale, true)
      if (zero ? scale !== 0 : !isScale(scale)) return at + BLOCK_AT.scale
      at += BLOCK_AT.values + n
      left -= n
    }
    return -1
  },
  pieceAt(bytes, at) {
    const count = bytes[at + BLOCK_AT.count]! + 1
    return { count, length: BLOCK_AT.values + count }
  },
  accumulate: (summands) => (summands.length === 4 ? four(summands) : one(summands[0]!)),
}

function encode(values: Float32Array, segments: readonly number[], into: Uint8Array): void {
  const view = dataView(into)
  let from = 0
  let at = 0
  for (const length of segments) {
    const end = from + length
    while (from < end) {
      const n = Math.min(BLOCK, end - from)
      let max = 0
      for (let i = from; i < from + n; i++) max = Math.max(max, Math.abs(values[i]!))
      const scale = scaleOf(max)
      view.setUint8(at + BLOCK_AT.count, n - 1)
      view.setFloat32(at + BLOCK_AT.scale, scale, true)
      for (let i = 0; i < n; i++) {
        const x = scale === 0 ? 0 : roundEven(values[from + i]! / scale)
        view.setInt8(at + BLOCK_AT.values + i, Math.max(-127, Math.min(127, x)))
      }
      at += BLOCK_AT.values + n
      from += n
    }
  }
}

function lengthIn(bytes: Uint8Array, count: number): number {
  let at = 0
  let left = count
  const full = BLOCK - 1
  while (left > 0) {
    // Four full blocks at once: the four reads do not depend on each other. The first byte of a
    // block says where it ends, and reading these one after another from far memory takes 17 ns
    // each.
    if (left >= 4 * BLOCK && at + 4 * FULL_BLOCK <= bytes.length) {
      const [a, b] = [bytes[at]!, bytes[at + FULL_BLOCK]!]
      const [c, d] = [bytes[at + 2 * FULL_BLOCK]!, bytes[at + 3 * FULL_BLOCK]!]
      if (a === full && b === full && c === full && d === full) {
        at += 4 * FULL_BLOCK
        left -= 4 * BLOCK
        continue
      }
    }
    if (at + BLOCK_AT.values > bytes.length) return -1 - bytes.length
    const n = bytes[at + BLOCK_AT.count]! + 1
    if (n > BLOCK || n > left) return -1 - at
    at += BLOCK_AT.values + n
    if (at > bytes.length) return -1 - bytes.length
    left -= n
  }
  return at
}

/** An iterator over the values of blocks that `lengthIn` has accepted, in runs within one block. */
class Blocks {
  readonly bytes: Int8Array
  /** the offset of the run in `bytes` */
  at = 0
  /** the scale of its block */
  scale = 0
  readonly #view: DataView
  /** the offset of the first byte after the run */
  #end = 0
  /** values of the block after the run */
  #left = 0

  constructor(bytes: Uint8Array) {
    this.bytes = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#view = dataView(bytes)
  }

  /**
   * Goes to the next run, and returns its length, at least 1.
   *
   * @param most  the length at most, ≥ 1
   */
  next(most: number): number {
    this.at = this.#end
    if (this.#left === 0) {
      this.#left = (this.bytes[this.at + BLOCK_AT.count]! & 0xff) + 1
      this.scale = this.#view.getFloat32(this.at + BLOCK_AT.scale, true)
      this.at += BLOCK_AT.values
    }
    const n = Math.min(this.#left, most)
    this.#left -= n
    this.#end = this.at + n
    return n
  }

  /** Shortens the run by n values, which the next run begins with. */
  back(n: number): void {
    this.#left += n
    this.#end -= n
  }
}

function one({ values, weight }: Summand): Accumulator {
  const blocks = new Blocks(values)
  return (sums, n) => {
    for (let to = 0; to < n; ) {
      const some = blocks.next(n - to)
      addOne(sums, to, some, blocks.bytes, blocks.at, blocks.scale, weight)
      if (!isScale(blocks.scale)) sums[to] = Number.NaN
      to += some
    }
  }
}

function four(summands: readonly Summand[]): Accumulator {
  const weights = summands.map(({ weight }) => weight)
  const [a, b, c, d] = summands.map(({ values }) => new Blocks(values))
  const scales = [0, 0, 0, 0]
  return (sums, n) => {
    for (let to = 0; to < n; ) {
      const inA = a!.next(n - to)
      const inB = b!.next(inA)
      const inC = c!.next(inB)
      const some = d!.next(inC)
      a!.back(inA - some) // 0 values, unless the frames' blocks end at different values
      b!.back(inB - some)
      c!.back(inC - some)
      scales[0] = a!.scale
      scales[1] = b!.scale
      scales[2] = c!.scale
      scales[3] = d!.scale
      addFour(sums, to, some, a!, b!, c!, d!, weights)
      if (!scales.every(isScale)) sums[to] = Number.NaN
      to += some
    }
  }
}

/** sums[to + i] += float32(scale · bytes[at + i]) · weight, for i from 0 to n − 1. */
function addOne(
  sums: Float64Array,
  to: number,
  n: number,
  bytes: Int8Array,
  at: number,
  scale: number,
  weight: number,
): void {
  for (let i = 0; i < n; i++) {
    sums[to + i] = sums[to + i]! + Math.fround(scale * bytes[at + i]!) * weight
  }
}

function addFour(
  sums: Float64Array,
  to: number,
  n: number,
  a: Blocks,
  b: Blocks,
  c: Blocks,
  d: Blocks,
  weights: readonly number[],
): void {
  const [wa, wb, wc, wd] = [weights[0]!, weights[1]!, weights[2]!, weights[3]!]
  const [xa, xb, xc, xd] = [a.bytes, b.bytes, c.bytes, d.bytes]
  const [ia, ib, ic, id] = [a.at, b.at, c.at, d.at]
  const [sa, sb, sc, sd] = [a.scale, b.scale, c.scale, d.scale]
  for (let i = 0; i < n; i++) {
    sums[to + i] =
      sums[to + i]! +
      Math.fround(sa * xa[ia + i]!) * wa +
      Math.fround(sb * xb[ib + i]!) * wb +
      Math.fround(sc * xc[ic + i]!) * wc +
      Math.fround(sd * xd[id + i]!) * wd
  }
}

/** floats[to + i] ← scale · bytes[at + i], for i from 0 to n − 1. */
function scaled(
  bytes: Int8Array,
  at: number,
  n: number,
  scale: number,
  floats: Float32Array,
  to: number,
): void {
  for (let i = 0; i < n; i++) floats[to + i] = scale * bytes[at + i]!
}

/** Whether the scale is valid: not negative, and not so large that a value reaches `LIMIT`. */
function isScale(scale: number): boolean {
  return scale >= 0 && scale <= MAX_SCALE
}

/** max / 127 as float32. If that is subnormal it is rounded up, so that 127 · scale ≥ max. */
function scaleOf(max: number): number {
  const scale = max / 127
  if (scale < 2 ** -126) return Math.ceil(scale * 2 ** 149) / 2 ** 149
  return Math.min(Math.fround(scale), MAX_SCALE)
}

/** The nearest integer, ties to even: from 2⁵² on, a float64 has no fractional digits. */
function roundEven(x: number): number {
  return x + 1.5 * 2 ** 52 - 1.5 * 2 ** 52
}
