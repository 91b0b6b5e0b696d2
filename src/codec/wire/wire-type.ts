// The interface of a wire type. Each type is one file beside this one; types.ts lists them.

/**
 * Values, scalars and scales in frames are below this in absolute value. A sender below it cannot
 * make an update, or a residual, of another worker overflow: P̂·Qᵀ with orthonormal P̂ stays below
 * rank · 2⁶⁴, and float32 ends at 2¹²⁸.
 */
export const LIMIT = 2 ** 64

/** An encoding of float32 values in frames. */
export interface WireType<Name extends string = string> {
  readonly name: Name
  /** The number of the type in frames. It never changes. 1 is not given again: see `unknownType`. */
  readonly id: number
  /** The smallest number of bytes that encode so many values. */
  leastLength(count: number): number
  /** true: every encoding has `leastLength` bytes */
  readonly fixedLength: boolean
  /**
   * The number of bytes that `encode` writes.
   *
   * @param segments  the lengths of the columns and raw parameters that the values consist of. No
   *   scale is shared by two segments
   */
  encodedLength(segments: readonly number[]): number
  /**
   * Encodes values below `LIMIT`. Rounds each to nearest, ties to even, but not up to `LIMIT`.
   *
   * @param segments  as for `encodedLength`; their sum is `values.length`
   * @param into  `encodedLength(segments)` bytes, at any alignment
   */
  encode(values: Float32Array, segments: readonly number[], into: Uint8Array): void
  /**
   * Decodes values that `firstInvalid` has accepted.
   *
   * @param bytes  at any alignment; may be longer than the encoded values
   * @param into  receives `count` float32: the exact value of each code, rounded at most once
   */
  decode(bytes: Uint8Array, count: number, into: Float32Array): void
  /**
   * Finds where the encoded values end. Looks at how they are divided into blocks, not at the values.
   *
   * @returns their length in bytes; or −1 − the offset of the error, a negative number, if the
   *   bytes end before the values do, or if a block is not valid
   */
  lengthIn(bytes: Uint8Array, count: number): number
  /**
   * Finds the first value that is not finite, or not below `LIMIT`, or a scale that allows such
   * values; or, if `zero`, the first that is not zero. `lengthIn` must have accepted the bytes.
   *
   * @returns its offset in bytes; −1 if there is none
   */
  firstInvalid(bytes: Uint8Array, count: number, zero?: boolean): number
  /**
   * The next values that may go into a slice together: one block, or, for types without blocks, as
   * many values as there is room for.
   *
   * @param at  the offset of these values in `bytes`
   * @param left  the number of values from there on
   * @param room  the bytes of values that an empty slice has room for
   * @returns the number of values and their bytes. They do not fit if the count is 0 or the length
   *   exceeds `room`
   */
  pieceAt(
    bytes: Uint8Array,
    at: number,
    left: number,
    room: number,
  ): { readonly count: number; readonly length: number }
  /**
   * Prepares to add encoded values, times a weight, to the sums of the codec's room.
   *
   * @param values  that `lengthIn` has accepted
   */
  accumulate(values: Uint8Array, weight: number): Accumulator
}

/**
 * sums ← sums + weight · values, for the next n values, n ≤ CHUNK_VALUES.
 *
 * Values are decoded and added in one pass. Decoding them into a buffer first was slower: in
 * `aggregate` in JavaScript it took 5.1 ns per value for f16 and 5.5 ns for int8, where f32 took
 * 3.9 ns.
 *
 * If `firstInvalid` would find a value or a scale, one of the sums is not finite.
 */
export type Accumulator = (n: number) => void
