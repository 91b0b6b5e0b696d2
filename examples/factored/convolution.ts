// A convolution as a matrix product: its gradient as activations and deltas.
import type { Factored } from 'lowrank/factored'

/** Stride 1, with zeros around the image, so that it stays as large as it is; kernels are squares. */
export interface Convolution {
  readonly batch: number
  readonly channels: number
  readonly filters: number
  readonly side: number
  /** of the kernel, odd */
  readonly kernel: number
}

/**
 * What each filter sees at each position: N × (channels · kernel · kernel), N = batch · side · side,
 * in the order of weights of shape [filters, channels, kernel, kernel].
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
 * @param images  what came in: batch × channels × side × side
 * @param derivatives  of the loss by what goes out: batch × filters × side × side
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

/** What goes out, in float64: batch × filters × side × side. For the derivatives by differences. */
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
