// A recurrent layer, h ← tanh(W·x + U·h + b), and the gradients of W and U as activations and
// deltas. The samples are the time steps of all sequences.
import type { Gradient } from 'lowrank/factored'

export interface Recurrent {
  readonly sequences: number
  readonly steps: number
  readonly inputs: number
  readonly hidden: number
}

/** Shapes of W, U and b. */
export function shapesOf({ inputs, hidden }: Recurrent): number[][] {
  return [[hidden, inputs], [hidden, hidden], [hidden]]
}

type Numbers = ArrayLike<number>

/**
 * All states in float64: sequences × (steps + 1) × hidden. Each sequence starts at zeros.
 *
 * @param x  sequences × steps × inputs
 */
export function statesOf([w, u, b]: readonly Numbers[], x: Numbers, of: Recurrent): Float64Array {
  const { sequences, steps, inputs, hidden } = of
  const h = new Float64Array(sequences * (steps + 1) * hidden)
  for (let s = 0; s < sequences; s++) {
    for (let t = 0; t < steps; t++) {
      const before = (s * (steps + 1) + t) * hidden
      for (let i = 0; i < hidden; i++) {
        let sum = b![i]!
        for (let j = 0; j < inputs; j++)
          sum += w![i * inputs + j]! * x[(s * steps + t) * inputs + j]!
        for (let j = 0; j < hidden; j++) sum += u![i * hidden + j]! * h[before + j]!
        h[before + hidden + i] = Math.tanh(sum)
      }
    }
  }
  return h
}

/** ½ Σ (h − target)² over the last states; targets: sequences × hidden. */
export function lossOf(
  parameters: readonly Numbers[],
  x: Numbers,
  targets: Numbers,
  of: Recurrent,
): number {
  const { sequences, steps, hidden } = of
  const h = statesOf(parameters, x, of)
  let loss = 0
  for (let s = 0; s < sequences; s++) {
    for (let i = 0; i < hidden; i++) {
      const last = h[(s * (steps + 1) + steps) * hidden + i]!
      loss += (last - targets[s * hidden + i]!) ** 2 / 2
    }
  }
  return loss
}

/**
 * Backpropagation through time. It does not add up the outer products of all time steps: it lists
 * both factors of each, N = sequences · steps samples.
 */
export function factoredRecurrent(
  parameters: readonly Numbers[],
  x: Numbers,
  targets: Numbers,
  of: Recurrent,
): Gradient[] {
  const { sequences, steps, inputs, hidden } = of
  const h = statesOf(parameters, x, of)
  const u = parameters[1]!
  const deltas = new Float32Array(sequences * steps * hidden)
  const former = new Float32Array(sequences * steps * hidden)
  const bias = new Float64Array(hidden)
  for (let s = 0; s < sequences; s++) {
    const state = (t: number, i: number) => h[(s * (steps + 1) + t) * hidden + i]!
    let back = Float64Array.from(
      { length: hidden },
      (_, i) => state(steps, i) - targets[s * hidden + i]!,
    )
    for (let t = steps - 1; t >= 0; t--) {
      const delta = back.map((derivative, i) => derivative * (1 - state(t + 1, i) ** 2))
      const sample = s * steps + t
      for (let i = 0; i < hidden; i++) {
        deltas[sample * hidden + i] = delta[i]!
        former[sample * hidden + i] = state(t, i)
        bias[i] = bias[i]! + delta[i]!
      }
      back = back.map((_, j) => delta.reduce((sum, d, i) => sum + d * u[i * hidden + j]!, 0))
    }
  }
  const came = Float32Array.from({ length: sequences * steps * inputs }, (_, i) => x[i]!)
  return [{ activations: came, deltas }, { activations: former, deltas }, Float32Array.from(bias)]
}
