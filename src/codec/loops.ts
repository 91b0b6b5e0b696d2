// The codec's loops in WebAssembly, and the memory that they, or JavaScript in their place, work on.
import { fromHex } from '../bytes.ts'
import { CODEC } from './binary.ts'

/** The exports of assembly/codec. Operands are addresses; `type` is the id of a wire type. */
export interface Loops {
  /** Updates the four lanes of XXH32 with `length` bytes, a multiple of 16. */
  stripes(lanes: number, x: number, length: number): void
  /** The bitwise or of (word & mask) + carry over n words, rounded up to a multiple of 4. */
  carries(x: number, n: number, mask: number, carry: number): number
  /** sums ← sums + weight · the values of n codes. Values that are not valid count as infinite. */
  add(type: number, sums: number, x: number, n: number, scale: number, weight: number): void
  /** into ← n sums ÷ weight, rounded up to a multiple of 2. @returns 1 if all sums are finite */
  divide(into: number, sums: number, n: number, weight: number): number
  /** The largest |x| of n floats. */
  largest(x: number, n: number): number
  /** into ← the codes nearest to n floats, rounded up to a multiple of 4 */
  encode(type: number, into: number, x: number, n: number, scale: number): void
  /** into ← the values of n codes, rounded up to a multiple of 4 */
  decode(type: number, into: number, x: number, n: number, scale: number): void
}

/** Bytes of a chunk. */
export const CHUNK_BYTES = 16384

/**
 * Values that are summed or decoded at a time. Their sums, in float64, take the bytes of one chunk.
 */
export const CHUNK_VALUES = CHUNK_BYTES / 8

/** Views of one piece of memory as different types. */
export interface ChunkViews {
  /** its address, for `Loops` */
  readonly at: number
  readonly view: DataView
  readonly bytes: Uint8Array
  readonly signed: Int8Array
  readonly halves: Uint16Array
  readonly words: Int32Array
  readonly floats: Float32Array
}

/**
 * Memory for one call of the codec: whatever is in it may be overwritten by the next. What is copied
 * to it is aligned and stays in the nearest cache.
 */
export interface Room {
  /** null: this host cannot compile them at once; JavaScript must do, with the same bits */
  readonly loops: Loops | null
  /** what is read: a chunk of a frame, or of values */
  readonly x: ChunkViews
  /** what is written */
  readonly y: ChunkViews
  /** `CHUNK_VALUES` of them */
  readonly sums: Float64Array
  /** four, of XXH32 */
  readonly lanes: Int32Array
}

/** Bytes after a chunk, which loops may read or write. */
const SPARE = 64

const SUMS_AT = SPARE
const X_AT = SUMS_AT + 8 * CHUNK_VALUES + SPARE
const Y_AT = X_AT + CHUNK_BYTES + SPARE
const END = Y_AT + CHUNK_BYTES + SPARE

let made: Room | undefined

/** The room of this process, made at the first call. */
export function room(): Room {
  made ??= createRoom()
  return made
}

function createRoom(): Room {
  const { loops, buffer } = compiled() ?? { loops: null, buffer: new ArrayBuffer(END) }
  const views = (at: number): ChunkViews => ({
    at,
    view: new DataView(buffer, at),
    bytes: new Uint8Array(buffer, at, CHUNK_BYTES),
    signed: new Int8Array(buffer, at),
    halves: new Uint16Array(buffer, at),
    words: new Int32Array(buffer, at),
    floats: new Float32Array(buffer, at),
  })
  return {
    loops,
    x: views(X_AT),
    y: views(Y_AT),
    sums: new Float64Array(buffer, SUMS_AT, CHUNK_VALUES),
    lanes: new Int32Array(buffer, 0, 4),
  }
}

/** Compiles the loops; null where that is not possible. */
function compiled(): { loops: Loops; buffer: ArrayBuffer } | null {
  try {
    const memory = new WebAssembly.Memory({ initial: Math.ceil(END / 65536) })
    const module = new WebAssembly.Module(fromHex(CODEC))
    const { exports } = new WebAssembly.Instance(module, { env: { memory } })
    return { loops: exports as unknown as Loops, buffer: memory.buffer }
  } catch {
    return null // no WebAssembly, no SIMD, or a policy: whatever the reason, JavaScript will do
  }
}
