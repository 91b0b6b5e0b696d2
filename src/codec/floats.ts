// Floats on the wire: f32, f16, bf16, and int8 in blocks that share a scale.

import { fromBytes, fromCodes, meaningsOf, toBf16, toF16 } from './codes.ts'
import { CHUNK_VALUES, chunks, createNear, dataView } from './near.ts'

/** How the values of a frame are encoded. */
export type Wire = 'f32' | 'f16' | 'bf16' | 'int8'

/** By the number that stands for it in a frame. */
export const WIRES: readonly Wire[] = ['f32', 'f16', 'bf16', 'int8']

/** Values in a full int8 block; the last block of a column has what is left. */
export const BLOCK = 64

/** Bytes of an int8 block besides its values: u8 n − 1, f32 scale. */
const BLOCK_HEAD = 5
const FULL_BLOCK = BLOCK_HEAD + BLOCK

/** The largest scale: 128 of them, the most that a signed byte can ask for, are a finite float32. */
const MAX_SCALE = 2 ** 120 * (2 - 2 ** -23)

/** The bits that are all set in what is not finite. */
const EXPONENT = { f32: 0x7f800000, f16: 0x7c00, bf16: 0x7f80 }

/** Bytes of one value; int8 has none, for its blocks vary. */
export function valueBytes(wire: Wire): number {
  return wire === 'f32' ? 4 : 2
}

/**
 * How many bytes the values take.
 *
 * @param segments  lengths of the columns and raw tensors that make up the values; int8 shares no
 *   scale between two of them
 */
export function encodedLength(wire: Wire, segments: readonly number[]): number {
  let bytes = 0
  for (const length of segments) {
    if (wire === 'int8') bytes += length + BLOCK_HEAD * Math.ceil(length / BLOCK)
    else bytes += length * valueBytes(wire)
  }
  return bytes
}

/**
 * Encodes finite values. Everything rounds to nearest, ties to even. f16 and bf16 saturate at their
 * largest finite value; int8 errs by at most half its scale, which is max|x| / 127 of the block
 * (rounded up where that is subnormal; values beyond 127 / 128 of the largest float32 saturate).
 *
 * @param segments  sum to `values.length`; see `encodedLength`
 * @param into  `encodedLength(wire, segments)` bytes, at any alignment
 */
export function encode(
  wire: Wire,
  values: Float32Array,
  segments: readonly number[],
  into: Uint8Array,
): void {
  if (wire === 'f32') {
    into.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    return
  }
  const view = dataView(into)
  if (wire === 'int8') {
    encodeBlocks(values, segments, view)
    return
  }
  const [near, codes] = [createNear(4 * CHUNK_VALUES), createNear(2 * CHUNK_VALUES)]
  const nearest = wire === 'f16' ? toF16 : toBf16
  for (let from = 0; from < values.length; from += CHUNK_VALUES) {
    const chunk = values.subarray(from, from + CHUNK_VALUES)
    near.floats.set(chunk)
    nearest(near.words, chunk.length, codes.halves)
    into.set(codes.bytes.subarray(0, 2 * chunk.length), 2 * from)
  }
}

/**
 * Decodes `count` values that `firstNotFinite` found nothing against.
 *
 * @param bytes  at any alignment; may be longer than the values
 * @param into  gets float32, exactly what the code means (int8: scale · byte, rounded once)
 */
export function decode(wire: Wire, bytes: Uint8Array, count: number, into: Float32Array): void {
  if (wire === 'f32') {
    new Uint8Array(into.buffer, into.byteOffset, 4 * count).set(bytes.subarray(0, 4 * count))
    return
  }
  if (wire === 'int8') {
    const blocks = new Blocks(bytes)
    for (let to = 0; to < count; ) {
      const n = blocks.next(count - to)
      fromBytes(blocks.bytes, blocks.at, n, blocks.scale, into, to)
      to += n
    }
    return
  }
  const meanings = meaningsOf(wire)
  for (const { near, length, from } of chunks(bytes.subarray(0, 2 * count))) {
    fromCodes(near.halves, length / 2, meanings, into.subarray(from / 2))
  }
}

/** Whether an int8 block may have this scale. */
export function isScale(scale: number): boolean {
  return scale >= 0 && scale <= MAX_SCALE
}

/** Goes through int8 blocks that have been walked by `blocksLength`, a run of values of one block at a time. */
export class Blocks {
  readonly bytes: Int8Array
  /** where the run begins in `bytes` */
  at = 0
  /** of its block */
  scale = 0
  readonly #view: DataView
  #end = 0
  /** behind the run, to the end of the block */
  #left = 0

  constructor(bytes: Uint8Array) {
    this.bytes = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#view = dataView(bytes)
  }

  /** The next run; returns its length. @param most  it shall have, ≥ 1 */
  next(most: number): number {
    this.at = this.#end
    if (this.#left === 0) {
      this.#left = (this.bytes[this.at]! & 0xff) + 1
      this.scale = this.#view.getFloat32(this.at + 1, true)
      this.at += BLOCK_HEAD
    }
    const n = Math.min(this.#left, most)
    this.#left -= n
    this.#end = this.at + n
    return n
  }

  /** Leaves the last n of the run for the next one. */
  back(n: number): void {
    this.#left += n
    this.#end -= n
  }
}

/**
 * Walks the int8 blocks of `count` values.
 *
 * @returns the bytes they take; a negative number, −1 − the offset of what is wrong, if the bytes
 *   end before the values do, or a block has more values than are left
 */
export function blocksLength(bytes: Uint8Array, count: number): number {
  let at = 0
  let left = count
  const full = BLOCK - 1
  while (left > 0) {
    // Four full blocks at once: where one ends is told by its own first byte, and one after another, from a
    // memory that is far away, they take 17 ns each.
    if (left >= 4 * BLOCK && at + 4 * FULL_BLOCK <= bytes.length) {
      const [a, b] = [bytes[at]!, bytes[at + FULL_BLOCK]!]
      const [c, d] = [bytes[at + 2 * FULL_BLOCK]!, bytes[at + 3 * FULL_BLOCK]!]
      if (a === full && b === full && c === full && d === full) {
        at += 4 * FULL_BLOCK
        left -= 4 * BLOCK
        continue
      }
    }
    if (at + BLOCK_HEAD > bytes.length) return -1 - bytes.length
    const n = bytes[at]! + 1
    if (n > BLOCK || n > left) return -1 - at
    at += BLOCK_HEAD + n
    if (at > bytes.length) return -1 - bytes.length
    left -= n
  }
  return at
}

/**
 * Where the first value (or scale) lies that is not finite, or, if `zero`, not zero either;
 * −1 if there is none. For int8 a scale is also refused if it is negative or so large that 128 of
 * them overflow. The blocks must have been walked by `blocksLength`.
 */
export function firstNotFinite(wire: Wire, bytes: Uint8Array, count: number, zero = false): number {
  if (wire === 'int8') return firstBadScale(bytes, count, zero)
  // A full exponent + 1 carries into the sign, and so does any bit but the sign + the same ones.
  const size = valueBytes(wire)
  const sign = 2 ** (8 * size - 1)
  const mask = zero ? sign - 1 : EXPONENT[wire]
  const carry = zero ? mask : mask & -mask
  const both = size === 2 ? 0x10001 : 1 // two values to a word, and no carry from one to the other
  for (const { near, length, from } of chunks(bytes.subarray(0, size * count))) {
    // What is behind the last value is zero or has been looked at.
    const any = carries(near.words, (length + 3) >> 2, mask * both, carry * both)
    if ((any & (sign * both)) === 0) continue
    const values = size === 2 ? near.halves : near.words
    return from + size * values.findIndex((bits) => (((bits & mask) + carry) & sign) !== 0)
  }
  return -1
}

/** All bits that any (word & mask) + carry has, in n words and up to three more. */
function carries(words: Int32Array, n: number, mask: number, carry: number): number {
  let any = 0
  for (let i = 0; i < n; i += 4) {
    any |=
      ((words[i]! & mask) + carry) |
      ((words[i + 1]! & mask) + carry) |
      ((words[i + 2]! & mask) + carry) |
      ((words[i + 3]! & mask) + carry)
  }
  return any
}

function firstBadScale(bytes: Uint8Array, count: number, zero: boolean): number {
  const view = dataView(bytes)
  for (let left = count, at = 0; left > 0; ) {
    const n = bytes[at]! + 1
    const scale = view.getFloat32(at + 1, true)
    if (zero ? scale !== 0 : !isScale(scale)) return at + 1
    at += BLOCK_HEAD + n
    left -= n
  }
  return -1
}

/** Σ x² in float64 of f32 values, at any alignment; the order is fixed. */
export function sumOfSquares(bytes: Uint8Array): number {
  let sum = 0
  for (const { near, length } of chunks(bytes)) sum += squares(near.floats, length >> 2)
  return sum
}

function squares(floats: Float32Array, n: number): number {
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  let i = 0
  for (; i + 4 <= n; i += 4) {
    a += floats[i]! * floats[i]!
    b += floats[i + 1]! * floats[i + 1]!
    c += floats[i + 2]! * floats[i + 2]!
    d += floats[i + 3]! * floats[i + 3]!
  }
  for (; i < n; i++) a += floats[i]! * floats[i]!
  return a + c + (b + d)
}

function encodeBlocks(values: Float32Array, segments: readonly number[], view: DataView): void {
  let from = 0
  let at = 0
  for (const length of segments) {
    const end = from + length
    while (from < end) {
      const n = Math.min(BLOCK, end - from)
      let max = 0
      for (let i = from; i < from + n; i++) max = Math.max(max, Math.abs(values[i]!))
      const scale = scaleOf(max)
      view.setUint8(at, n - 1)
      view.setFloat32(at + 1, scale, true)
      for (let i = 0; i < n; i++) {
        const x = scale === 0 ? 0 : roundEven(values[from + i]! / scale)
        view.setInt8(at + BLOCK_HEAD + i, Math.max(-127, Math.min(127, x)))
      }
      at += BLOCK_HEAD + n
      from += n
    }
  }
}

/** max / 127 as a float32; rounded up where it is subnormal, so that 127 scales still reach max. */
function scaleOf(max: number): number {
  const scale = max / 127
  if (scale < 2 ** -126) return Math.ceil(scale * 2 ** 149) / 2 ** 149
  return Math.min(Math.fround(scale), MAX_SCALE)
}

/** The nearest integer, ties to even: beyond 2⁵² a float64 has no digits after the point. */
function roundEven(x: number): number {
  return x + 1.5 * 2 ** 52 - 1.5 * 2 ** 52
}
