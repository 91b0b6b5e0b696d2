// The state of a ring as a whole: the loss of the workers' mean, and their distance from it.
import { heldOutLoss } from './measuring.ts'
import type { Model } from './model.ts'
import type { Snapshot } from './ringprotocol.ts'

/** The loss of the workers' mean, and their distance from the mean, at one point of a run. */
export interface RingMeasurement {
  readonly step: number
  /** by all workers, since the run began */
  readonly sentBytes: number
  /** of the mean of all workers' parameters, nats per character */
  readonly loss: number
  /** the mean of ‖xᵢ − x̄‖², over ‖x̄‖² */
  readonly consensusDistance: number
}

/**
 * @param told  a snapshot of each worker, after the same step
 * @param steps  of the whole run
 */
export async function measure(
  model: Model,
  heldOut: Uint8Array,
  step: number,
  told: readonly Snapshot[],
  steps: number,
): Promise<RingMeasurement> {
  const all = told.map(({ parameters }) => parameters)
  const mean = meanOf(all)
  const { sum, characters } = await heldOutLoss(model, mean, heldOut, { steps })
  return {
    step,
    sentBytes: told.reduce((bytes, { sent }) => bytes + sent.frames, 0),
    loss: sum / characters,
    consensusDistance: distance(all, mean),
  }
}

type Parameters = readonly Float32Array[]

function meanOf(all: readonly Parameters[]): Float32Array[] {
  return all[0]!.map((first, i) => {
    const sum = new Float64Array(first.length)
    for (const parameters of all) {
      for (const [k, value] of parameters[i]!.entries()) sum[k]! += value
    }
    return Float32Array.from(sum, (value) => value / all.length)
  })
}

/** The mean of ‖xᵢ − x̄‖², over ‖x̄‖². */
function distance(all: readonly Parameters[], mean: Parameters): number {
  let apart = 0
  let size = 0
  for (const [i, centre] of mean.entries()) {
    for (const value of centre) size += value ** 2
    for (const parameters of all) {
      for (const [k, value] of parameters[i]!.entries()) apart += (value - centre[k]!) ** 2
    }
  }
  return apart / all.length / size
}
