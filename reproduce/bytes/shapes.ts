// The papers' models by their parameters, in the order of their programs.
import { LSTM, RESNET18 } from '../../bench/models.ts'

type Shapes = readonly (readonly number[])[]

/** ResNet-18 for CIFAR-100: the last layer has 100 outputs. 11,220,132 parameters. */
const RESNET18_100: Shapes = [...RESNET18.slice(0, -2), [100, 512], [100]]

/**
 * VGG-19 for CIFAR-10 with batch normalisation and three dense layers behind it, as in Accordion:
 * 20,565,834 parameters.
 */
const VGG19: Shapes = [
  ...convolutions(3, [64, 64, 128, 128, 256, 256, 256, 256, ...Array<number>(8).fill(512)]),
  ...[[512, 512], [512], [512, 512], [512], [10, 512], [10]],
]

/** ResNet20 for CIFAR-10, as in PowerGossip: 65 tensors, 272,474 parameters. */
const RESNET20: Shapes = [
  ...normalised([16, 3, 3, 3]),
  ...[16, 32, 64].flatMap((width) => {
    const before = Math.max(16, width / 2)
    const blocks = Array.from({ length: 6 }, (_, i) => [width, i === 0 ? before : width, 3, 3])
    return [...blocks, ...(before < width ? [[width, before, 1, 1]] : [])].flatMap(normalised)
  }),
  [10, 64],
  [10],
]

export const SHAPES = {
  'ResNet-18': RESNET18,
  'ResNet-18, CIFAR-100': RESNET18_100,
  'VGG-19': VGG19,
  LSTM,
  ResNet20: RESNET20,
} as const satisfies Readonly<Record<string, Shapes>>

export type ModelName = keyof typeof SHAPES

/** Convolutions of 3 × 3 with a bias each, and batch normalisation after each of them. */
function convolutions(channels: number, widths: readonly number[]): number[][] {
  return widths.flatMap((width, i) => {
    const [kernel, ...norm] = normalised([width, i === 0 ? channels : widths[i - 1]!, 3, 3])
    return [kernel!, [width], ...norm]
  })
}

/** A kernel, and the scale and shift of the batch normalisation after it. */
function normalised(kernel: readonly number[]): number[][] {
  return [[...kernel], [kernel[0]!], [kernel[0]!]]
}
