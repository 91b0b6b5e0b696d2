// Models whose layers readers know: shapes as their frameworks have them.

/** ResNet-18 for CIFAR-10: 62 tensors, 11,173,962 parameters, as in the PowerSGD paper. */
export const RESNET18: readonly (readonly number[])[] = [
  [64, 3, 3, 3],
  ...norm(64),
  ...blocks(64, 64),
  ...blocks(64, 128),
  ...blocks(128, 256),
  ...blocks(256, 512),
  [10, 512],
  [10],
]

/**
 * The language model of the PowerSGD paper, on WikiText-2: three LSTM layers of 650, encoder and decoder
 * tied; 28,949,319 parameters.
 */
export const LSTM: readonly (readonly number[])[] = [
  [28869, 650],
  ...Array.from({ length: 3 }, () => [[2600, 650], [2600, 650], [2600], [2600]]).flat(),
  [28869],
]

/** GPT-2 with 124,439,808 parameters. */
export const GPT2: readonly (readonly number[])[] = [
  [50257, 768],
  [1024, 768],
  ...Array.from({ length: 12 }, transformer).flat(),
  ...norm(768),
]

/** Attention and the perceptron after it, each with a normalisation before it. */
function transformer(): number[][] {
  const attention = [[768, 2304], [2304], [768, 768], [768]]
  const perceptron = [[768, 3072], [3072], [3072, 768], [768]]
  return [...norm(768), ...attention, ...norm(768), ...perceptron]
}

/** Two residual blocks, the first of which changes the width. */
function blocks(from: number, to: number): number[][] {
  const shortcut = from === to ? [] : [[to, from, 1, 1], ...norm(to)]
  const convolution = (input: number) => [[to, input, 3, 3], ...norm(to)]
  return [
    ...convolution(from),
    ...convolution(to),
    ...shortcut,
    ...convolution(to),
    ...convolution(to),
  ]
}

/** Scale and shift of a normalisation. */
function norm(width: number): number[][] {
  return [[width], [width]]
}

/** Elements of each tensor. */
export function lengthsOf(shapes: readonly (readonly number[])[]): number[] {
  return shapes.map((shape) => shape.reduce((length, n) => length * n, 1))
}

/** Elements of all tensors. */
export function parametersOf(shapes: readonly (readonly number[])[]): number {
  return lengthsOf(shapes).reduce((sum, length) => sum + length, 0)
}
