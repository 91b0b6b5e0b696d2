// A small convolutional net: three convolutions of stride 2 and two dense layers, ReLU between
// them.
import type { Images } from '../data.ts'
import { crossEntropy, integers, type Model, type Score, sumSamples } from './model.ts'
import { createPatches, type Patches } from './patches.ts'
import { createProducts, type Layer } from './products.ts'

/** Channels of the three convolutions, and the width of the dense layer behind them. */
export interface ConvnetSize {
  readonly channels: readonly [number, number, number]
  readonly hidden: number
  /** images in a step */
  readonly batch: number
}

const SIDE = 32
const CLASSES = 10
/** Training images are moved by at most so many pixels, either way. */
const SHIFT = 2
/** Test images of an evaluation that is not the last. */
const GLANCE = 256

export async function createConvnet(
  { train, test }: { readonly train: Images; readonly test: Images },
  size: ConvnetSize,
  { seed, workers }: { readonly seed: number; readonly workers: number },
): Promise<Model> {
  const { channels, batch } = size
  const own = batch / workers
  const convolutions: Patches[] = [
    createPatches({ side: SIDE, channels: 3, kernel: 5, stride: 2 }),
    createPatches({ side: SIDE / 2, channels: channels[0], kernel: 3, stride: 2 }),
    createPatches({ side: SIDE / 4, channels: channels[1], kernel: 3, stride: 2 }),
  ]
  const shapes = convnetShapes(size)
  // `samples` is that of one image: a convolution has one for each place.
  const layers: Layer[] = [0, 1, 2, 3, 4].map((i) => {
    const [outputs, inputs] = shapes[2 * i] as [number, number]
    return { inputs, outputs, samples: convolutions[i]?.places ?? 1 }
  })
  const sizes = shapes.map((shape) => shape.reduce((product, n) => product * n, 1))
  const perImage = layers.reduce(
    (sum, { inputs, outputs, samples }) => sum + samples * 2 * (inputs + outputs),
    0,
  )
  const { alloc, forward, backward, weights, normal } = await createProducts(
    2 * sizes.reduce((sum, size) => sum + size, 0) +
      batch * (perImage + 2 * 3 * SIDE * SIDE) +
      1024,
  )
  const parameters = sizes.map(alloc)
  const gradients = sizes.map(alloc)
  for (const [i, { inputs }] of layers.entries()) {
    normal(parameters[2 * i]!, Math.sqrt(2 / inputs), seed, i)
  }
  const pictures = alloc(batch * SIDE * SIDE * 3)
  // Inputs of each layer's product (patches if it is a convolution), and outputs after ReLU.
  const ins = layers.map(({ inputs, samples }) => alloc(batch * samples * inputs))
  const outs = layers.map(({ outputs, samples }) => alloc(batch * samples * outputs))
  const dIns = layers.map(({ inputs, samples }) => alloc(batch * samples * inputs))
  // Gradients of the outputs of the convolutions before, summed from patches.
  const onImages = [1, 2].map((i) => alloc(outs[i - 1]!.length))
  const labels = new Uint8Array(batch)
  const { mean, deviation } = momentsOf(train)
  const draw = integers(seed)
  const order = Uint32Array.from(train.labels.keys())
  let next = order.length

  return { shapes, parameters, step, gradients: gradientsOf, evaluate }

  function step(): number {
    for (let i = 0; i < batch; i++) {
      if (next === order.length) shuffle()
      load(
        i,
        train,
        order[next++]!,
        draw(2) === 1,
        draw(2 * SHIFT + 1) - SHIFT,
        draw(2 * SHIFT + 1) - SHIFT,
      )
    }
    goForward()
    const { loss } = crossEntropy(outs[4]!, labels, CLASSES, 1 / own)
    goBack()
    return loss / batch
  }

  function shuffle(): void {
    for (let i = order.length - 1; i > 0; i--) {
      const j = draw(i + 1)
      const kept = order[i]!
      order[i] = order[j]!
      order[j] = kept
    }
    next = 0
  }

  /**
   * Loads one image, normalised; mirrored and moved if asked. Pixels beyond its edge get the mean.
   */
  function load(
    i: number,
    from: Images,
    image: number,
    mirrored: boolean,
    down: number,
    right: number,
  ): void {
    labels[i] = from.labels[image]!
    const to = i * SIDE * SIDE * 3
    for (let y = 0; y < SIDE; y++) {
      for (let x = 0; x < SIDE; x++) {
        const row = y - down
        const moved = x - right
        const column = mirrored ? SIDE - 1 - moved : moved
        const inside = row >= 0 && row < SIDE && column >= 0 && column < SIDE
        const at = ((image * SIDE + row) * SIDE + column) * 3
        for (let k = 0; k < 3; k++) {
          const value = inside ? (from.pixels[at + k]! - mean[k]!) / deviation[k]! : 0
          pictures[to + (y * SIDE + x) * 3 + k] = value
        }
      }
    }
  }

  function goForward(): void {
    for (const [i, layer] of layers.entries()) {
      const before = i === 0 ? pictures : outs[i - 1]!
      if (i < 3) convolutions[i]!.gather(ins[i]!, before, batch)
      else ins[i]!.set(before)
      forward(outs[i]!, parameters[2 * i]!, ins[i]!, { ...layer, samples: batch * layer.samples })
      addBias(outs[i]!, parameters[2 * i + 1]!)
      if (i < 4) rectify(outs[i]!)
    }
  }

  /**
   * Goes backward: turns `outs`, of which the last holds its gradient already, into the gradients
   * before ReLU.
   */
  function goBack(): void {
    for (let i = 4; i > 0; i--) {
      const layer = { ...layers[i]!, samples: batch * layers[i]!.samples }
      backward(dIns[i]!, parameters[2 * i]!, outs[i]!, layer)
      const before = outs[i - 1]!
      const onBefore = i < 3 ? onImages[i - 1]! : dIns[i]!
      if (i < 3) convolutions[i]!.scatter(onBefore, dIns[i]!, batch)
      rectifyBack(before, onBefore)
    }
  }

  function gradientsOf(worker: number): readonly Float32Array[] {
    for (const [i, layer] of layers.entries()) {
      const samples = own * layer.samples
      const part = (array: Float32Array, width: number) =>
        array.subarray(worker * samples * width, (worker + 1) * samples * width)
      const dOut = part(outs[i]!, layer.outputs)
      weights(gradients[2 * i]!, dOut, part(ins[i]!, layer.inputs), { ...layer, samples })
      sumSamples(gradients[2 * i + 1]!, dOut)
    }
    return gradients
  }

  function evaluate(last: boolean): Score {
    const count = last ? test.labels.length : Math.min(GLANCE, test.labels.length)
    let loss = 0
    let right = 0
    for (let from = 0; from < count; from += batch) {
      const here = Math.min(batch, count - from)
      for (let i = 0; i < here; i++) load(i, test, from + i, false, 0, 0)
      goForward()
      const found = crossEntropy(
        outs[4]!.subarray(0, here * CLASSES),
        labels.subarray(0, here),
        CLASSES,
        0,
      )
      loss += found.loss
      right += found.right
    }
    return { loss: loss / count, accuracy: right / count }
  }
}

/** Shapes of each layer: a matrix, outputs × inputs, and a bias. */
export function convnetShapes({ channels: [c1, c2, c3], hidden }: ConvnetSize): number[][] {
  const layers = [
    [c1, 5 * 5 * 3],
    [c2, 3 * 3 * c1],
    [c3, 3 * 3 * c2],
    [hidden, (SIDE / 8) ** 2 * c3],
    [CLASSES, hidden],
  ]
  return layers.flatMap(([outputs, inputs]) => [[outputs!, inputs!], [outputs!]])
}

function addBias(y: Float32Array, bias: Float32Array): void {
  for (let at = 0; at < y.length; at += bias.length) {
    for (let k = 0; k < bias.length; k++) y[at + k] = y[at + k]! + bias[k]!
  }
}

// ReLU works on the bits. The signs are as good as random, and with a branch a misprediction at
// every other value took a third of a step's time.

/** y ← max(0, y) */
function rectify(y: Float32Array): void {
  const bits = bitsOf(y)
  for (let i = 0; i < bits.length; i++) bits[i] = bits[i]! & ~(bits[i]! >> 31)
}

/** y ← dy where y is above 0, else 0; `rectify` has made y */
function rectifyBack(y: Float32Array, dy: Float32Array): void {
  const bits = bitsOf(y)
  const from = bitsOf(dy)
  for (let i = 0; i < bits.length; i++) bits[i] = from[i]! & (-bits[i]! >> 31)
}

function bitsOf({ buffer, byteOffset, length }: Float32Array): Int32Array {
  return new Int32Array(buffer, byteOffset, length)
}

/** Mean and deviation of each colour over all pixels. */
function momentsOf({ pixels }: Images): { mean: readonly number[]; deviation: readonly number[] } {
  const sums = [0, 0, 0]
  const squares = [0, 0, 0]
  for (let at = 0; at < pixels.length; at += 3) {
    for (let k = 0; k < 3; k++) {
      const value = pixels[at + k]!
      sums[k]! += value
      squares[k]! += value * value
    }
  }
  const count = pixels.length / 3
  const mean = sums.map((sum) => sum / count)
  const deviation = squares.map((square, k) => Math.sqrt(square / count - mean[k]! ** 2))
  return { mean, deviation }
}
