// What a wire type has to say of itself. One file for each type beside this one; index.ts lists them.

/** How the values of a frame are encoded. */
export interface WireType<Name extends string = string> {
  readonly name: Name
  /** The number that stands for the type in a frame. It never changes. */
  readonly id: number
  /** Bytes of so many values, at least. */
  leastLength(count: number): number
  /** true: `leastLength` is what they always take */
  readonly fixedLength: boolean
  /**
   * Bytes that values take.
   *
   * @param segments  lengths of the columns and raw tensors that make up the values: what may share
   *   a scale, where the type has any
   */
  encodedLength(segments: readonly number[]): number
  /**
   * Encodes finite values, each rounded to nearest, ties to even.
   *
   * @param segments  sum to `values.length`; see `encodedLength`
   * @param into  `encodedLength(segments)` bytes, at any alignment
   */
  encode(values: Float32Array, segments: readonly number[], into: Uint8Array): void
  /**
   * Decodes values that `firstInvalid` found nothing against.
   *
   * @param bytes  at any alignment; may be longer than the values
   * @param into  gets float32: exactly the value of each code, rounded at most once
   */
  decode(bytes: Uint8Array, count: number, into: Float32Array): void
  /**
   * Walks the encoded values, without looking at them.
   *
   * @returns the bytes they take; a negative number, −1 − the offset of what is wrong, if the bytes
   *   end before the values do, or are not divided as they must be
   */
  lengthIn(bytes: Uint8Array, count: number): number
  /**
   * Where the first value, or scale, lies that is not finite (or too large to stay so in decoding), or,
   * if `zero`, is not zero; −1 if there is none. `lengthIn` must have passed.
   */
  firstInvalid(bytes: Uint8Array, count: number, zero?: boolean): number
  /**
   * How many values follow that a slice with so much room can take in one piece, and their bytes. A
   * block is never cut.
   *
   * @param at  where they begin in `bytes`
   * @param left  values from there on
   * @returns a count of 0 or a length above `room` if there is no room for any
   */
  pieceAt(
    bytes: Uint8Array,
    at: number,
    left: number,
    room: number,
  ): { readonly count: number; readonly length: number }
  /** @param summands  of this type: one, or four that are to be added in this order */
  accumulate(summands: readonly Summand[]): Accumulator
}

/** Encoded values, and the factor that they are added with. */
export interface Summand {
  readonly values: Uint8Array
  readonly weight: number
}

/**
 * sums ← sums + Σ weight · values, for the next n values, at most CHUNK_VALUES; up to three sums more
 * may change. Values are decoded on the way, never to a place of their own, which would take as long
 * again: f16, then summed, took 5.1 ns a value in `aggregate` where f32 takes 3.9, int8 5.5.
 *
 * A value, or a block's scale, that is not finite makes a sum that is not.
 */
export type Accumulator = (sums: Float64Array, n: number) => void
