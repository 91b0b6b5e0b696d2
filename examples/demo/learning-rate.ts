// How parameters follow a gradient: the optimiser and its learning rate, step by step.

/** The optimiser of all methods that do not bring their own. */
export const USUAL = { momentum: 0.9, learningRate: 0.07 }

const WARM_UP = 20 // steps

/** The learning rate ÷ its highest value: rises at first, then falls to zero along a cosine. */
export function warmthAt(step: number, steps: number, warmUp = WARM_UP): number {
  const fallen = (1 + Math.cos((Math.PI * step) / steps)) / 2
  return Math.min(1, (step + 1) / warmUp) * fallen
}

/** m ← momentum · m + g, x ← x − learningRate · (g + m) */
export function descend(
  x: readonly Float32Array[],
  gradients: readonly Float32Array[],
  momenta: readonly Float32Array[],
  learningRate: number,
): void {
  for (const [i, gradient] of gradients.entries()) {
    const [values, m] = [x[i]!, momenta[i]!]
    for (let k = 0; k < values.length; k++) {
      m[k] = USUAL.momentum * m[k]! + gradient[k]!
      values[k]! -= learningRate * (gradient[k]! + m[k]!)
    }
  }
}
