// Models whose layers readers know, with the shapes that their frameworks have.

export interface Model {
  readonly name: string
  readonly shapes: readonly (readonly number[])[]
}

/** A model to see that something works. */
export const TINY: Model = {
  name: 'a tiny model',
  shapes: [[16, 3, 3, 3], [16], [33, 70], [10, 33]],
}

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
 * The language model of the PowerSGD paper, on WikiText-2: three LSTM layers of 650, encoder and
 * decoder tied; 28,949,319 parameters.
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
  ...Array.from({ length: 12 }, () => transformer(768)).flat(),
  ...norm(768),
]

/**
 * TinyLlama: 1,100,048,384 parameters; attention with 4 heads of 64 for keys and values, 3 matrices
 * after it.
 */
export const TINYLLAMA: readonly (readonly number[])[] = [
  [32000, 2048],
  ...Array.from({ length: 22 }, () => [
    ...[
      [2048, 2048],
      [256, 2048],
      [256, 2048],
      [2048, 2048],
    ],
    ...[
      [5632, 2048],
      [5632, 2048],
      [2048, 5632],
    ],
    ...norm(2048),
  ]).flat(),
  [2048],
  [32000, 2048],
]

/** A transformer of 273,792 parameters, for CPUs that play a GPU. */
export const SMALL: readonly (readonly number[])[] = [
  [1024, 64],
  [128, 64],
  ...Array.from({ length: 4 }, () => transformer(64)).flat(),
  ...norm(64),
]

/** Attention and the perceptron after it, each with a normalisation before it. */
function transformer(width: number): number[][] {
  const layer = (from: number, to: number) => [[from, to], [to]]
  const attention = [...layer(width, 3 * width), ...layer(width, width)]
  const perceptron = [...layer(width, 4 * width), ...layer(4 * width, width)]
  return [...norm(width), ...attention, ...norm(width), ...perceptron]
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
