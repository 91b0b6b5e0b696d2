// Gradients of a convolution and of a recurrent layer as activations and deltas, checked against
// derivatives by differences. Then two workers train the recurrent layer with such gradients.
import { aggregate, createCompressor } from 'lowrank'
import { dad, factored, type Gradient } from 'lowrank/factored'
import { type Convolution, convolve, factoredConvolution } from './convolution.ts'
import { factoredRecurrent, lossOf, type Recurrent, shapesOf, statesOf } from './recurrent.ts'

const random = source(1)

// A convolution: ½‖tanh(weights ∗ images)‖², three channels to eight filters of 3 × 3.
const convolution: Convolution = { batch: 2, channels: 3, filters: 8, side: 6, kernel: 3 }
const shape = [8, 3, 3, 3]
const images = numbers(2 * 3 * 36, 1)
const weights = numbers(8 * 27, 0.3)
const derivatives = convolve(images, weights, convolution).map(
  (y) => Math.tanh(y) * (1 - Math.tanh(y) ** 2),
)
const ofConvolution = factoredConvolution(images, derivatives, convolution)
const squares = () =>
  convolve(images, weights, convolution).reduce((sum, y) => sum + Math.tanh(y) ** 2 / 2, 0)
await check('convolution', [shape], [ofConvolution], [byDifferences(weights, squares)])

// A recurrent layer: eight sequences of six steps.
const recurrent: Recurrent = { sequences: 8, steps: 6, inputs: 12, hidden: 16 }
const parameters = shapesOf(recurrent).map((shape) => numbers(product(shape), 0.3))
const x = numbers(8 * 6 * 12, 1)
// The targets are another layer's last states, so that the loss can reach 0.
const states = statesOf(
  shapesOf(recurrent).map((shape) => numbers(product(shape), 0.3)),
  x,
  recurrent,
)
const targets = Array.from({ length: 8 }, (_, s) => [
  ...states.slice((7 * s + 6) * 16, (7 * s + 7) * 16),
])
const loss = () => lossOf(parameters, x, targets.flat(), recurrent)
await check(
  'recurrent layer',
  shapesOf(recurrent),
  factoredRecurrent(parameters, x, targets.flat(), recurrent),
  parameters.map((parameter) => byDifferences(parameter, loss)),
)

// Two workers with half of the sequences each run PowerSGD on the products without forming them.
const half: Recurrent = { ...recurrent, sequences: 4 }
const workers = await Promise.all(
  [0, 1].map((sender) =>
    createCompressor(shapesOf(half), {
      method: factored(),
      rank: 2,
      minCompressionRate: 1,
      sender,
    }),
  ),
)
console.log(`loss before training: ${loss().toExponential(2)}`)
for (let step = 0; step < 100; step++) {
  let frames: (Uint8Array | null)[] = await Promise.all(
    workers.map((worker, i) => {
      const own = x.subarray(i * 4 * 6 * 12, (i + 1) * 4 * 6 * 12)
      const ownTargets = targets.slice(4 * i, 4 * i + 4).flat()
      return worker.compress(factoredRecurrent(parameters, own, ownTargets, half))
    }),
  )
  while (frames[0]) {
    const mean = aggregate(frames as Uint8Array[])
    frames = await Promise.all(workers.map((worker) => worker.receive(mean)))
  }
  // Both have the same update; in one process, one of them applies it.
  await workers[0]!.decompress(parameters, { scale: -0.2, accumulate: true })
  await workers[1]!.decompress(null)
}
console.log(`loss after 100 steps: ${loss().toExponential(2)}`)

/** Compares dAD's updates, the products of activations and deltas, with the explicit gradients. */
async function check(
  name: string,
  shapes: readonly (readonly number[])[],
  gradients: readonly Gradient[],
  explicit: readonly Float64Array[],
): Promise<void> {
  const samples = Math.max(
    ...gradients.map((gradient, i) =>
      'deltas' in gradient ? gradient.deltas.length / shapes[i]![0]! : 1,
    ),
  )
  // `compress` forces factors: layers this small would take fewer bytes whole.
  const wishes = shapes.map((shape) => (shape.length > 1 ? { shape, compress: true } : shape))
  using compressor = await createCompressor(wishes, { method: dad({ samples }) })
  const updates = explicit.map(({ length }) => new Float32Array(length))
  await compressor.step(gradients, (frame) => aggregate([frame]), { into: updates })
  let [error, largest] = [0, 0]
  for (const [i, update] of updates.entries()) {
    for (const [j, value] of update.entries()) {
      error = Math.max(error, Math.abs(value - explicit[i]![j]!))
      largest = Math.max(largest, Math.abs(explicit[i]![j]!))
    }
  }
  console.log(
    `${name}: N = ${samples}, largest relative difference ${(error / largest).toExponential(1)}`,
  )
  if (!(error <= 1e-5 * largest)) process.exitCode = 1
}

/** Central differences in float64. */
function byDifferences(values: Float32Array, loss: () => number): Float64Array {
  return Float64Array.from(values, (value, i) => {
    const step = 2 ** -10 // exact in float32, beside numbers of this size
    values[i] = value + step
    const [above, plus] = [loss(), values[i]!]
    values[i] = value - step
    const [below, minus] = [loss(), values[i]!]
    values[i] = value
    return (above - below) / (plus - minus)
  })
}

function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1)
}

/** Uniform in (−scale, scale). */
function numbers(length: number, scale: number): Float32Array {
  return Float32Array.from({ length }, () => scale * (2 * random() - 1))
}

/** Uniform numbers in [0, 1) from a seed: a linear congruential generator is enough here. */
function source(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}
