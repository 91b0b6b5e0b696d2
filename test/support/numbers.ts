// Seeded numbers: the same for the same seed.

/** Uniform numbers in (−1, 1) from a seed: mulberry32. */
export function numbers(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return (((x ^ (x >>> 14)) >>> 0) + 0.5) / 2 ** 31 - 1
  }
}

/** `length` numbers in (−scale, scale) as float32. */
export function uniform(length: number, seed: number, scale = 1): Float32Array {
  const next = numbers(seed)
  return Float32Array.from({ length }, () => scale * next())
}

/** One array per shape. */
export function gradientsOf(
  shapes: readonly (readonly number[])[],
  seed: number,
  scale = 1,
): Float32Array[] {
  return shapes.map((shape, i) => uniform(lengthOf(shape), 1000 * seed + i, scale))
}

/** The number of elements of an array of this shape. */
export function lengthOf(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1)
}
