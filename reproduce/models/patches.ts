// Convolutions as products: the patch of every place becomes a sample (im2col), and back.

export interface Patches {
  /** places of an output image */
  readonly places: number
  /** values in a patch: kernel rows × kernel columns × channels */
  readonly length: number
  /**
   * patches ← images, which lie by row, column, channel. Beyond an image's edge a patch keeps its
   * values: zeros.
   */
  gather(patches: Float32Array, images: Float32Array, count: number): void
  /** images ← Σ patches: each value is added where it came from */
  scatter(images: Float32Array, patches: Float32Array, count: number): void
}

/**
 * For square images. `kernel` is odd; its middle goes from the first pixel in steps of `stride`.
 */
export function createPatches({
  side,
  channels,
  kernel,
  stride,
}: {
  readonly side: number
  readonly channels: number
  readonly kernel: number
  readonly stride: number
}): Patches {
  const out = side / stride
  const reach = (kernel - 1) / 2
  const length = kernel * kernel * channels
  const image = side * side * channels
  const patched = out * out * length
  // Runs of values that are consecutive both in a patch and in the image: their start in each, and
  // their length.
  const runs: number[] = []
  for (let y = 0, at = 0; y < out; y++) {
    for (let x = 0; x < out; x++) {
      for (let dy = -reach; dy <= reach; dy++, at += kernel * channels) {
        const row = y * stride + dy
        const from = Math.max(0, x * stride - reach)
        const to = Math.min(side, x * stride + reach + 1)
        if (row < 0 || row >= side) continue
        const skipped = from - (x * stride - reach)
        runs.push(at + skipped * channels, (row * side + from) * channels, (to - from) * channels)
      }
    }
  }
  const table = Int32Array.from(runs)
  return {
    places: out * out,
    length,
    gather(patches, images, count) {
      for (let i = 0; i < count; i++) {
        for (let k = 0; k < table.length; k += 3) {
          const to = i * patched + table[k]!
          const from = i * image + table[k + 1]!
          const run = table[k + 2]!
          for (let j = 0; j < run; j++) patches[to + j] = images[from + j]!
        }
      }
    },
    scatter(images, patches, count) {
      images.fill(0)
      for (let i = 0; i < count; i++) {
        for (let k = 0; k < table.length; k += 3) {
          const from = i * patched + table[k]!
          const to = i * image + table[k + 1]!
          const run = table[k + 2]!
          for (let j = 0; j < run; j++) images[to + j] = images[to + j]! + patches[from + j]!
        }
      }
    },
  }
}
