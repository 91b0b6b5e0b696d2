// Loops over what is not in a near cache are slow in V8, 2.4 GB/s, and memcpy, which `set` is, takes 11 from
// memory and 23 from the third cache (one core of a Xeon, Node 20 and 24). So whatever is looped over is
// first copied to where it is near, a chunk at a time; it is then also aligned.

/** Bytes that are brought near at a time. */
export const CHUNK = 16384

/** Values that are summed or decoded at a time: their sums, in float64, are a chunk. */
export const CHUNK_VALUES = CHUNK / 8

/** The same bytes, as all that they are read as. */
export interface Near {
  readonly bytes: Uint8Array
  readonly halves: Uint16Array
  readonly words: Int32Array
  readonly floats: Float32Array
}

/** Room for a chunk of `length` bytes, in whole sixteens: zeros, so far. */
export function createNear(length: number): Near {
  const buffer = new ArrayBuffer(16 * Math.ceil(Math.min(CHUNK, length) / 16))
  return {
    bytes: new Uint8Array(buffer),
    halves: new Uint16Array(buffer),
    words: new Int32Array(buffer),
    floats: new Float32Array(buffer),
  }
}

/** A chunk that has been brought near: so many bytes, from there. */
export interface Chunk {
  readonly near: Near
  readonly length: number
  readonly from: number
}

/**
 * Brings one chunk after another near, always to the same place.
 *
 * V8 optimises a function after some calls, and a loop in the middle of its run worse than that: so the
 * loop over a chunk belongs into a function of its own. (Node 24 never got to it with 4096 turns a call.)
 */
export function* chunks(bytes: Uint8Array): Generator<Chunk, void> {
  const near = createNear(bytes.length)
  for (let from = 0; from < bytes.length; from += CHUNK) {
    const chunk = bytes.subarray(from, from + CHUNK)
    near.bytes.set(chunk)
    yield { near, length: chunk.length, from }
  }
}

/** For single fields, at any alignment. (Loops of `setInt32` take 6 ns a turn in Node 24.) */
export function dataView(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
