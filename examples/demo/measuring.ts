// The loss on text that nobody trains on.
import { setImmediate } from 'node:timers/promises'
import { BATCH, batchAt, CONTEXT, type Model } from './model.ts'

/** Batches that the held-out loss is measured on, every time the same. */
export const PROBE = 80

/** A loss that can be added to others'. */
export interface Sum {
  /** nats, over `characters` characters */
  readonly sum: number
  readonly characters: number
}

/**
 * The loss on every so-many-th batch of the probe, whose characters lie evenly in the held-out part.
 *
 * @throws Error  if it is not finite
 */
export async function heldOutLoss(
  model: Model,
  parameters: readonly Float32Array[],
  heldOut: Uint8Array,
  { first, every }: { readonly first: number; readonly every: number },
): Promise<Sum> {
  const stride = (heldOut.length - CONTEXT) / (PROBE * BATCH)
  let sum = 0
  let characters = 0
  for (let batch = first; batch < PROBE; batch += every) {
    const positions = Array.from(
      { length: BATCH },
      (_, i) => CONTEXT + Math.floor((batch * BATCH + i) * stride),
    )
    sum += BATCH * (await model.loss(parameters, batchAt(heldOut, positions)))
    characters += BATCH
    await setImmediate() // signals and connections have their turn
  }
  if (!Number.isFinite(sum)) throw new Error(`training diverged: the held-out loss is ${sum}`)
  return { sum, characters }
}
