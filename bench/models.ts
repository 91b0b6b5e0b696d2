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

/** Scale and shift of a batch normalisation. */
function norm(width: number): number[][] {
  return [[width], [width]]
}
