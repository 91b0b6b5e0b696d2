// Convolutions as products: every place's patch becomes a sample (im2col), and back.

export interface Patches {
  /** of an image that comes out */
  readonly places: number
  /** values in a patch: kernel rows × kernel columns × channels */
  readonly length: number
  /** patches ← images, which lie by row, column, channel; zeros where a patch is beyond the edge */
  gather(patches: Float32Array, images: Float32Array, count: number): void
  /** images ← Σ patches: each value goes back to where it came from */
  scatter(images: Float32Array, patches: Float32Array, count: number): void
}

/** Of square images; `kernel` is odd, and its middle goes from the first pixel in steps of `stride`. */
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
  // For each value of an image's patches where it is in the image, or −1.
  const where = new Int32Array(out * out * length).fill(-1)
  for (let y = 0, at = 0; y < out; y++) {
    for (let x = 0; x < out; x++) {
      for (let dy = -reach; dy <= reach; dy++) {
        for (let dx = -reach; dx <= reach; dx++, at += channels) {
          const row = y * stride + dy
          const column = x * stride + dx
          if (row < 0 || row >= side || column < 0 || column >= side) continue
          for (let k = 0; k < channels; k++) where[at + k] = (row * side + column) * channels + k
        }
      }
    }
  }
  return {
    places: out * out,
    length,
    gather(patches, images, count) {
      for (let i = 0, at = 0; i < count; i++) {
        const from = i * image
        for (let j = 0; j < where.length; j++, at++) {
          const place = where[j]!
          patches[at] = place < 0 ? 0 : images[from + place]!
        }
      }
    },
    scatter(images, patches, count) {
      images.fill(0)
      for (let i = 0, at = 0; i < count; i++) {
        const to = i * image
        for (let j = 0; j < where.length; j++, at++) {
          const place = where[j]!
          if (place >= 0) images[to + place] = images[to + place]! + patches[at]!
        }
      }
    },
  }
}
