// The loss on text that no worker trains on.
import { setImmediate } from 'node:timers/promises'
import { BATCH, batchAt, CONTEXT, type Model } from './model.ts'

/**
 * The held-out loss is measured on so many batches, every time the same. A run of a few steps only shows
 * that everything works, and should not spend its time on this.
 */
const PROBE = { usual: 80, short: 8 }
const SHORT = 20 // steps

/** A loss as a sum, so that workers' losses can be added. */
export interface Sum {
  /** nats, over `characters` characters */
  readonly sum: number
  readonly characters: number
}

/**
 * The loss on every `every`-th batch of the probe, from `first` on. The probe's characters lie
 * evenly in the held-out part.
 *
 * @param steps  of the whole run
 * @throws Error  if it is not finite
 */
export async function heldOutLoss(
  model: Model,
  parameters: readonly Float32Array[],
  heldOut: Uint8Array,
  {
    steps,
    first = 0,
    every = 1,
  }: { readonly steps: number; readonly first?: number; readonly every?: number },
): Promise<Sum> {
  const probe = steps < SHORT ? PROBE.short : PROBE.usual
  const stride = (heldOut.length - CONTEXT) / (probe * BATCH)
  let sum = 0
  let characters = 0
  for (let batch = first; batch < probe; batch += every) {
    const positions = Array.from(
      { length: BATCH },
      (_, i) => CONTEXT + Math.floor((batch * BATCH + i) * stride),
    )
    sum += BATCH * (await model.loss(parameters, batchAt(heldOut, positions)))
    characters += BATCH
    await setImmediate() // gives signals and connections their turn
  }
  if (!Number.isFinite(sum)) throw new Error(`training diverged: the held-out loss is ${sum}`)
  return { sum, characters }
}
