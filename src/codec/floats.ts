// Floats on the wire: f32, f16, bf16, and int8 in blocks that share a scale.

/** How the values of a frame are encoded. */
export type Wire = 'f32' | 'f16' | 'bf16' | 'int8'

/** By the number that stands for it in a frame. */
export const WIRES: readonly Wire[] = ['f32', 'f16', 'bf16', 'int8']

/** Values in a full int8 block; the last block of a column has what is left. */
export const BLOCK = 64

/** Bytes looked at by one call of an inner loop. */
const CHUNK_BYTES = 1 << 14

/** Bytes of an int8 block besides its values: u8 n − 1, f32 scale. */
const BLOCK_HEAD = 5

/** The largest scale: 128 of them, the most that a signed byte can ask for, are a finite float32. */
const MAX_SCALE = 2 ** 120 * (2 - 2 ** -23)

const EXPONENT = 0x7f800000

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
  const view = new DataView(into.buffer, into.byteOffset, into.byteLength)
  if (wire === 'int8') {
    encodeBlocks(values, segments, view)
    return
  }
  const codes = new Int32Array(values.buffer, values.byteOffset, values.length)
  const code = wire === 'f16' ? f16 : bf16
  for (let i = 0; i < codes.length; i++) view.setUint16(2 * i, code(codes[i]!), true)
}

/**
 * Decodes `count` values that `firstNotFinite` found nothing against.
 *
 * @param bytes  at any alignment; may be longer than the values
 * @param into  gets float32, exactly what the code means (int8: scale · byte, rounded once)
 */
export function decode(wire: Wire, bytes: Uint8Array, count: number, into: Float32Array): void {
  if (wire === 'f32') {
    const raw = new Uint8Array(into.buffer, into.byteOffset, 4 * count)
    raw.set(bytes.subarray(0, 4 * count))
    return
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (wire === 'int8') {
    decodeBlocks(view, count, into)
    return
  }
  const bits = new Int32Array(into.buffer, into.byteOffset, count)
  if (wire === 'bf16') {
    for (let i = 0; i < count; i++) bits[i] = view.getUint16(2 * i, true) << 16
    return
  }
  // The exponent of an f16 moved into a float32 is too small by 112, and a multiplication puts
  // that right, for subnormals too.
  for (let i = 0; i < count; i++) {
    const code = view.getUint16(2 * i, true)
    bits[i] = ((code & 0x8000) << 16) | ((code & 0x7fff) << 13)
  }
  for (let i = 0; i < count; i++) into[i] = into[i]! * 2 ** 112
}

/**
 * Walks the int8 blocks of `count` values.
 *
 * @returns the bytes they take; a negative number, −1 − the offset of what is wrong, if the bytes
 *   end before the values do, or a block has more values than are left
 */
export function blocksLength(bytes: Uint8Array, count: number): number {
  let at = 0
  for (let left = count; left > 0; ) {
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
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (wire === 'int8') {
    for (let left = count, at = 0; left > 0; ) {
      const n = bytes[at]! + 1
      const scale = view.getFloat32(at + 1, true)
      if (!(scale >= 0 && scale <= (zero ? 0 : MAX_SCALE))) return at + 1
      at += BLOCK_HEAD + n
      left -= n
    }
    return -1
  }
  if (wire === 'f32') {
    // Four at a time, and only the verdict is kept: a full exponent + 1 carries into the sign.
    // (In the loop of the checksum the test is not free: 4.0 GB/s together, 3.4 one after the other.)
    const mask = zero ? 0x7fffffff : EXPONENT
    const carry = zero ? 0x7fffffff : 0x00800000
    let at = 0
    for (const last = 4 * count - 16; at <= last; at += 16) {
      const any =
        ((view.getInt32(at, true) & mask) + carry) |
        ((view.getInt32(at + 4, true) & mask) + carry) |
        ((view.getInt32(at + 8, true) & mask) + carry) |
        ((view.getInt32(at + 12, true) & mask) + carry)
      if (any < 0) break
    }
    for (; at < 4 * count; at += 4) {
      if ((((view.getInt32(at, true) & mask) + carry) | 0) < 0) return at
    }
    return -1
  }
  const full = zero ? 1 : wire === 'f16' ? 0x7c00 : 0x7f80
  for (let at = 0; at < 2 * count; at += 2) {
    if ((view.getUint16(at, true) & 0x7fff) >= full) return at
  }
  return -1
}

/** Σ x² in float64 of f32 values, at any alignment; the order is fixed. */
export function sumOfSquares(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let sum = 0
  // In chunks, so that V8 compiles the inner function early (1.1 M values: 0.7 ms; in one loop, 8).
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    sum += squares(view, at, Math.min(at + CHUNK_BYTES, bytes.length))
  }
  return sum
}

function squares(view: DataView, from: number, to: number): number {
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  let at = from
  for (; at + 16 <= to; at += 16) {
    const w = view.getFloat32(at, true)
    const x = view.getFloat32(at + 4, true)
    const y = view.getFloat32(at + 8, true)
    const z = view.getFloat32(at + 12, true)
    a += w * w
    b += x * x
    c += y * y
    d += z * z
  }
  for (; at < to; at += 4) a += view.getFloat32(at, true) ** 2
  return a + c + (b + d)
}

/** The f16 nearest to the float32 with these bits. */
function f16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude >= 0x477ff000) return sign | 0x7bff // 65520 and more would round to infinity
  if (magnitude >= 0x38800000) {
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
  }
  if (magnitude <= 0x33000000) return sign // 2⁻²⁵, half of the smallest subnormal, ties to zero
  const shift = 126 - (magnitude >>> 23) // 14 … 24
  const mantissa = (magnitude & 0x7fffff) | 0x800000
  const half = (1 << (shift - 1)) - 1
  return sign | ((mantissa + half + ((mantissa >>> shift) & 1)) >>> shift)
}

/** The bf16 nearest to the float32 with these bits. */
function bf16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  const code = (magnitude + 0x7fff + ((magnitude >>> 16) & 1)) >>> 16
  return sign | (code >= 0x7f80 ? 0x7f7f : code)
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

function decodeBlocks(view: DataView, count: number, into: Float32Array): void {
  for (let done = 0, at = 0; done < count; ) {
    const n = view.getUint8(at) + 1
    const scale = view.getFloat32(at + 1, true)
    for (let i = 0; i < n; i++) into[done + i] = scale * view.getInt8(at + BLOCK_HEAD + i)
    at += BLOCK_HEAD + n
    done += n
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
