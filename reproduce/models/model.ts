// The interface of models. A model has its data, and draws batches from a seed.

/** A model with one copy of the parameters, for all simulated workers hold the same. */
export interface Model {
  readonly shapes: readonly (readonly number[])[]
  /** one array per shape, changed by training */
  readonly parameters: readonly Float32Array[]
  /**
   * Goes through the next batch, forward and backward.
   *
   * @returns the mean loss, in nats
   */
  step(): number
  /**
   * The gradient of the mean loss over this worker's share of the batch. Shares are consecutive
   * samples, equally many for all workers. The arrays are valid until the next call.
   */
  gradients(worker: number): readonly Float32Array[]
  /**
   * Evaluates the model on held-out data. Gradients are lost.
   *
   * @param last  true: on all of the held-out data; false: on a part
   */
  evaluate(last: boolean): Score
}

export interface Score {
  /** mean, in nats */
  readonly loss: number
  /** of the predictions that are right: 0 … 1 */
  readonly accuracy: number
}

/** Numbers from 0 to less than `below`, the same for the same seed (mulberry32). */
export function integers(seed: number): (below: number) => number {
  let state = (seed * 0x9e3779b9 + 0x2545f491) | 0
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let z = Math.imul(state ^ (state >>> 15), state | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return Math.floor((((z ^ (z >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

/**
 * Turns the scores of each sample into the gradient of its loss, in place: `scale` · (p − 1) at the
 * target, `scale` · p elsewhere.
 *
 * @returns the sum of losses, and how many targets had the greatest score
 */
export function crossEntropy(
  scores: Float32Array,
  targets: Uint8Array,
  classes: number,
  scale: number,
): { loss: number; right: number } {
  let loss = 0
  let right = 0
  for (const [s, target] of targets.entries()) {
    const at = s * classes
    let most = Number.NEGATIVE_INFINITY
    let best = 0
    for (let k = 0; k < classes; k++) {
      const score = scores[at + k]!
      if (score > most) {
        most = score
        best = k
      }
    }
    if (best === target) right++
    loss += most - scores[at + target]!
    let sum = 0
    for (let k = 0; k < classes; k++) {
      const e = Math.exp(scores[at + k]! - most)
      scores[at + k] = e
      sum += e
    }
    loss += Math.log(sum)
    for (let k = 0; k < classes; k++) scores[at + k] = (scores[at + k]! * scale) / sum
    scores[at + target] = scores[at + target]! - scale
  }
  return { loss, right }
}

/** sums ← Σ over samples, which lie one after another */
export function sumSamples(sums: Float32Array, samples: Float32Array): void {
  sums.fill(0)
  for (let at = 0; at < samples.length; at += sums.length) {
    for (let k = 0; k < sums.length; k++) sums[k] = sums[k]! + samples[at + k]!
  }
}
