// The gradient of a convolution as activations and deltas: the convolution is a matrix product.
import type { Factored } from 'lowrank/factored'

/** Stride 1 and square kernels; zeros around the image keep the output as large as the input. */
export interface Convolution {
  readonly batch: number
  readonly channels: number
  readonly filters: number
  readonly side: number
  /** of the kernel, odd */
  readonly kernel: number
}

/**
 * Lays out the patch under the kernel at each position: N × (channels · kernel · kernel),
 * N = batch · side · side. A row has the order of one filter in weights of shape
 * [filters, channels, kernel, kernel].
 *
 * @param images  batch × channels × side × side
 */
export function im2col(images: ArrayLike<number>, of: Convolution): Float32Array {
  const { batch, channels, side, kernel } = of
  const margin = (kernel - 1) / 2
  const columns = new Float32Array(batch * side * side * channels * kernel * kernel)
  let at = 0
  for (let image = 0; image < batch; image++) {
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        for (let channel = 0; channel < channels; channel++) {
          for (let ky = y - margin; ky <= y + margin; ky++) {
            for (let kx = x - margin; kx <= x + margin; kx++, at++) {
              if (ky < 0 || kx < 0 || ky >= side || kx >= side) continue
              columns[at] = images[((image * channels + channel) * side + ky) * side + kx]!
            }
          }
        }
      }
    }
  }
  return columns
}

/**
 * The weights' gradient.
 *
 * @param images  the input: batch × channels × side × side
 * @param derivatives  of the loss by the output: batch × filters × side × side
 */
export function factoredConvolution(
  images: ArrayLike<number>,
  derivatives: ArrayLike<number>,
  of: Convolution,
): Factored {
  const { batch, filters, side } = of
  const positions = side * side
  const deltas = new Float32Array(batch * positions * filters)
  for (let image = 0; image < batch; image++) {
    for (let filter = 0; filter < filters; filter++) {
      for (let position = 0; position < positions; position++) {
        deltas[(image * positions + position) * filters + filter] =
          derivatives[(image * filters + filter) * positions + position]!
      }
    }
  }
  return { activations: im2col(images, of), deltas }
}

/** The output in float64, batch × filters × side × side; the derivatives by differences need it. */
export function convolve(
  images: ArrayLike<number>,
  weights: ArrayLike<number>,
  of: Convolution,
): Float64Array {
  const { batch, channels, filters, side, kernel } = of
  const margin = (kernel - 1) / 2
  const pixel = (image: number, channel: number, y: number, x: number) =>
    y < 0 || x < 0 || y >= side || x >= side
      ? 0
      : images[((image * channels + channel) * side + y) * side + x]!
  return Float64Array.from({ length: batch * filters * side * side }, (_, at) => {
    const [x, y] = [at % side, Math.floor(at / side) % side]
    const filter = Math.floor(at / side ** 2) % filters
    const image = Math.floor(at / (side ** 2 * filters))
    let sum = 0
    for (let channel = 0; channel < channels; channel++) {
      for (let ky = 0; ky < kernel; ky++) {
        for (let kx = 0; kx < kernel; kx++) {
          const weight = weights[((filter * channels + channel) * kernel + ky) * kernel + kx]!
          sum += weight * pixel(image, channel, y + ky - margin, x + kx - margin)
        }
      }
    }
    return sum
  })
}
