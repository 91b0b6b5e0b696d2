// Fleets of compressors against algorithms/textbook.ts, the same step in float64: updates,
// residuals and the next factors. Each step begins with the compressors' float32 state.

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Fleet, step } from '../../src/algorithms/textbook.ts'
import type { Compressor } from '../../src/index.ts'
import { createLayout } from '../../src/kernels.ts'
import { eigen } from '../../src/linalg/eigen.ts'
import { BOUND, columnsOf } from '../support/bases.ts'
import { gamma } from '../support/close.ts'
import { createFleet, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { ALL } from '../support/norms.ts'
import { gradientsOf } from '../support/numbers.ts'
import { readState } from '../support/safetensors.ts'

const STEPS = 5

/** By worker; 0: the worker has no gradient, and still receives the means. */
type Weights = readonly number[]

const CASES: readonly {
  readonly name: string
  readonly shapes: readonly (readonly number[])[]
  readonly rank: number
  readonly weights: (step: number) => Weights
  /** a worker with a gradient whose frames get lost */
  readonly lost?: (step: number) => number
}[] = [
  { name: 'one worker', shapes: [[20, 30], [7]], rank: 2, weights: () => [1] },
  {
    name: 'three workers, a convolution, a wide and a tall matrix',
    shapes: [[9, 4, 3], [5], [3, 65], [70, 6]],
    rank: 1,
    weights: () => [1, 1, 1],
  },
  {
    name: 'unlike weights, absent workers, and a step without any',
    shapes: [[12, 17], [31, 8], [4]],
    rank: 3,
    weights: (t) =>
      [
        [1, 2, 5],
        [1, 0, 0.25],
        [0, 0, 0],
        [0, 3, 3],
        [1, 1, 1],
      ][t]!,
  },
  {
    name: 'frames that get lost',
    shapes: [[16, 16], [3], [24, 10]],
    rank: 4,
    weights: () => [2, 1, 3],
    lost: (t) => t % 3,
  },
]

const test = suite('textbook')

for (const { name, shapes, rank, weights: weightsOf, lost } of CASES) {
  for (const errorFeedback of ['local', 'aggregated', 'none'] as const) {
    for (const iterations of [1, 2]) {
      test(`${name}: ${errorFeedback} feedback, ${iterations} iterations`, async () => {
        const options = { ...ALL, rank, errorFeedback, iterations }
        const layout = createLayout(shapes, options)
        const workers = await createFleet(shapes, weightsOf(0).length, options)
        for (let t = 0; t < STEPS; t++) {
          const weights = weightsOf(t)
          const gradients = workers.map((_, w) => gradientsOf(shapes, 10 * t + w))
          const arrives = weights.map((weight, w) => weight > 0 && w !== lost?.(t))
          const before = await fleetOf(workers, layout.parameters)
          const { means, updates, outcomes } = await stepTogether(
            workers,
            gradients.map((g, w) => (weights[w] === 0 ? null : g)),
            weights,
            // Frames of weight 0 say that no worker has a gradient.
            { shapes, arrives: (w) => arrives[w]! || !arrives.includes(true) },
          )
          assert.equal(
            outcomes.map(({ counted }) => counted),
            arrives,
          )
          const got = await fleetOf(workers, layout.parameters)
          const want = structuredClone(before)
          const wanted = step(
            want,
            gradients.map((g, w) => (weights[w] === 0 ? g.map((x) => x.map(() => 0)) : g)),
            weights.map((weight, w) => (arrives[w] ? weight : 0)),
            { errorFeedback, iterations },
          )
          for (const [i, { rows, cols, left, right }] of layout.parameters.entries()) {
            const own = layout.parameters[i]!.rank
            const m = workers.map((_, w) =>
              weights[w] === 0
                ? before.residuals[w]![i]!
                : before.residuals[w]![i]!.map((e, j) => e + gradients[w]![i]![j]!),
            )
            const size = Math.max(...m.map(norm))
            const factors = [
              before.q[i]!,
              ...means.slice(0, own > 0 ? 2 * iterations : 0).map((bytes, round) => {
                const mean = open(bytes).floats
                const [from, length] = round % 2 === 0 ? [left, rows] : [right, cols]
                return Float64Array.from(mean.subarray(from, from + length * own))
              }),
            ]
            const bound = arrives.includes(true)
              ? errorOfStep(factors, rows, cols, own, size)
              : { update: 0, q: 0 }
            const what = (of: string) => `step ${t}, parameter ${i}: ${of}`
            for (const update of updates)
              close(update[i]!, wanted[i]!, bound.update, what('update'))
            close(got.q[i]!, want.q[i]!, bound.q, what('q'))
            for (const [w] of workers.entries()) {
              // An absent worker's e is the same to the bit; one that lost its frames rounds e + g.
              const off = weights[w] === 0 ? 0 : gamma(1) * size + (arrives[w] ? bound.update : 0)
              const e = got.residuals[w]![i]!
              close(e, want.residuals[w]![i]!, off, what(`residual of worker ${w}`))
            }
          }
        }
      })
    }
  }
}

test.run()

/** The compressors' saved state: Q and residuals. */
async function fleetOf(
  workers: readonly Compressor[],
  parameters: Fleet['parameters'],
): Promise<Fleet> {
  const files = await Promise.all(workers.map(async (worker) => readState(await worker.save())))
  const tensor = (w: number, name: string) =>
    Float64Array.from(files[w]!.tensors.get(name)?.data ?? [])
  return {
    parameters,
    q: parameters.map((_, i) => tensor(0, `q/${i}`)),
    residuals: workers.map((_, w) => parameters.map((_, i) => tensor(w, `residual/${i}`))),
  }
}

/**
 * The bound of the error of a step in float32 against float64, in the Frobenius norm.
 *
 * To first order the basis X̂ of columns X + ΔX differs by √2·‖ΔX‖ ÷ σ_min(X) (Higham, "Accuracy
 * and Stability of Numerical Algorithms", §19.9), and that of the contract, 5e-7 an element of
 * X̂ᵀX̂ − I, counts as such a ΔX. A product M·X̂ adds ‖M‖·‖ΔX̂‖ and its own roundings, n + 3 of
 * ‖M‖·√rank: of e + g, of n products and sums, of the mean.
 *
 * @param factors  Q, and the means of P and Q in turn: each is made of the one before
 * @param size  the largest ‖M‖ of a worker
 */
function errorOfStep(
  factors: readonly Float64Array[],
  rows: number,
  cols: number,
  rank: number,
  size: number,
): { readonly update: number; readonly q: number } {
  if (rank === 0) return { update: gamma(3) * size, q: 0 }
  const bases = factors.slice(0, -1)
  let [basis, product] = [0, 0]
  for (const [k, x] of bases.entries()) {
    const [from, across] = k % 2 === 0 ? [cols, rows] : [rows, cols]
    const { least, condition } = spectrum(x, from)
    basis = Math.SQRT2 * (product / least + condition * rank * BOUND)
    product = size * (basis + gamma(from + 3) * Math.sqrt(rank))
    assert.is(factors[k + 1]!.length, across * rank)
  }
  return { update: size * (basis + gamma(rank + 2) * rank) + product, q: product }
}

/** The smallest singular value, and the ratio of the largest to it. */
function spectrum(columns: Float64Array, length: number) {
  const all = columnsOf(Float32Array.from(columns), length)
  const gram = all.flatMap((x) => all.map((y) => x.reduce((sum, a, i) => sum + a * y[i]!, 0)))
  const values = eigen(Float64Array.from(gram), all.length).values.map(Math.sqrt)
  const least = values.at(-1)!
  return { least, condition: values[0]! / least }
}

function norm(x: Float64Array): number {
  return Math.hypot(...x)
}

function close(got: ArrayLike<number>, want: Float64Array, bound: number, what: string): void {
  assert.is(got.length, want.length, what)
  const off = norm(want.map((value, i) => value - got[i]!))
  if (!(off <= bound)) assert.unreachable(`${what}: ‖got − want‖ is ${off}, more than ${bound}`)
}
