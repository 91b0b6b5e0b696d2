// Loops over the values of a chunk: what a code of 16 bits or 8 means, and which is nearest to a float32.

/** floats ← what n codes mean; one that is not finite stays so. */
export function fromCodes(
  codes: Uint16Array,
  n: number,
  meanings: Float32Array,
  floats: Float32Array,
): void {
  for (let i = 0; i < n; i++) floats[i] = meanings[codes[i]!]!
}

/** n floats from `to` on ← scale · the bytes from `at` on */
export function fromBytes(
  bytes: Int8Array,
  at: number,
  n: number,
  scale: number,
  floats: Float32Array,
  to: number,
): void {
  for (let i = 0; i < n; i++) floats[to + i] = scale * bytes[at + i]!
}

/** The f16 nearest to n float32 with these bits; they saturate. */
export function toF16(bits: Int32Array, n: number, codes: Uint16Array): void {
  for (let i = 0; i < n; i++) codes[i] = f16(bits[i]!)
}

/** The bf16 nearest to n float32 with these bits; they saturate. */
export function toBf16(bits: Int32Array, n: number, codes: Uint16Array): void {
  for (let i = 0; i < n; i++) codes[i] = bf16(bits[i]!)
}

const meanings: { f16?: Float32Array; bf16?: Float32Array } = {}

/**
 * Of every code, made when first needed (0.1 ms). For f16 arithmetic takes twice as long, and with
 * subnormals, usual in gradients, longer still; for bf16 a table takes no longer.
 */
export function meaningsOf(wire: 'f16' | 'bf16'): Float32Array {
  meanings[wire] ??= wire === 'f16' ? f16Meanings() : bf16Meanings()
  return meanings[wire]
}

function bf16Meanings(): Float32Array {
  return new Float32Array(Int32Array.from({ length: 1 << 16 }, (_, code) => code << 16).buffer)
}

function f16Meanings(): Float32Array {
  const table = new Float32Array(1 << 16)
  for (let top = 0; top < 64; top++) {
    const exponent = top & 31
    const unit = exponent === 31 ? Number.POSITIVE_INFINITY : 2 ** (Math.max(exponent, 1) - 25)
    const scale = top < 32 ? unit : -unit
    const first = exponent === 0 ? 0 : 1024
    for (let i = 0; i < 1024; i++) table[1024 * top + i] = (first + i) * scale
  }
  return table
}

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

function bf16(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  const code = (magnitude + 0x7fff + ((magnitude >>> 16) & 1)) >>> 16
  return sign | (code >= 0x7f80 ? 0x7f7f : code)
}
