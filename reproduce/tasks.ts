// The models and data sets that are trained for the page, and the numbers of steps.
import type { Effort } from './experiment.ts'
import type { Task } from './training.ts'

/** Streams and batches are multiples of 16, so that 16 workers can share them. */
const TEXT = {
  name: 'text',
  symbols: 65,
  embedding: 32,
  hidden: 128,
  streams: 32,
  length: 32,
} as const
const IMAGES = { name: 'images', channels: [16, 32, 64], hidden: 64, batch: 64 } as const

const STEPS: Record<Effort, Record<Task['name'], number>> = {
  full: { text: 400, images: 400 },
  quick: { text: 100, images: 100 },
  tiny: { text: 6, images: 6 },
}

/**
 * The tasks, with decays where the paper has them: at 60 and 80 of 90 epochs, and at 150 and 250 of
 * 300.
 *
 * @param times  multiplies the usual number of steps
 */
export function tasksOf(effort: Effort, times = 1): { readonly text: Task; readonly images: Task } {
  const { text, images } = STEPS[effort]
  return {
    text: { ...TEXT, ...course(times * text, [60 / 90, 80 / 90]) },
    images: { ...IMAGES, ...course(times * images, [150 / 300, 250 / 300]) },
  }
}

function course(steps: number, decays: readonly number[]) {
  return {
    steps,
    warmUp: Math.ceil(steps / 20),
    decays: decays.map((decay) => Math.round(decay * steps)),
  }
}

/** Names on the page. */
export const ABOUT: Record<Task['name'], { readonly title: string; readonly loss: string }> = {
  text: { title: 'LSTM on Tiny Shakespeare', loss: 'held-out loss, nats a character' },
  images: { title: 'convolutional net on a part of CIFAR-10', loss: 'test loss, nats' },
}

/**
 * Learning rates at their highest, which suit uncompressed gradients. Others are tried around them.
 */
export const USUAL: Record<Task['name'], number> = { text: 4, images: 0.03 }
