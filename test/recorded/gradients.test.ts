// Gradients of real training runs: the error of an update, beside that of the paper authors' code
// (`method: paper()`), of the same without its epsilon (the defaults), and the least error of any
// matrix of that rank.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Options } from '../../src/index.ts'
import { createWasmKernels, svd } from '../../src/kernels.ts'
import { paper } from '../../src/methods.ts'
import { createFleet } from '../support/fleet.ts'
import { distance, norm } from '../support/norms.ts'
import { meanOf, type Recording, recording, stateOf } from './recording.ts'
import { observe, range } from './replay.ts'

interface Config {
  readonly workers: number
  readonly steps: number
  readonly shapes: readonly (readonly number[])[]
  /** parameters that are matrices, in the order of the truths */
  readonly matrices: readonly number[]
  readonly ranks: readonly number[]
}

interface Matrix {
  readonly index: number
  readonly shape: readonly number[]
  /** by step, then by worker */
  readonly gradients: readonly (readonly Float32Array[])[]
}

/** Tolerance of a relative error ‖X − update‖ ÷ ‖X‖; in float64 the same rule differs by 2.7e-7. */
const TOLERANCE = 1e-4

const test = suite('recorded: real-gradients')

for (const name of ['convnet-cifar10-early', 'lstm-wikitext2-late']) {
  const file = recording<Config>(`real-gradients/${name}`, { whole: true })
  const { matrices, ranks, steps, workers } = file.config
  const found = matrices
    .filter((i) => file.has(`step0/worker0/grad/${i}`))
    .map((index): Matrix => {
      const of = (t: number, w: number) => file.get(`step${t}/worker${w}/grad/${index}`)
      const gradients = range(steps).map((t) => range(workers).map((w) => of(t, w)))
      return { index, shape: file.config.shapes[index]!, gradients }
    })
  const part = file.whole ? 'all' : `a copy with ${found.length} of`
  const title = `${name} (${part} ${matrices.length} matrices)`
  const truth = (kind: string, t: number, index: number, rank: number): number => {
    const at = (t * matrices.length + matrices.indexOf(index)) * ranks.length + ranks.indexOf(rank)
    return file.get(`truth/${kind}`)[at]!
  }

  test(`${title}: the best of any rank, by svd`, async () => {
    const kernels = await createWasmKernels()
    for (const { index, shape, gradients } of found) {
      const [rows, cols] = [shape[0]!, gradients[0]![0]!.length / shape[0]!]
      for (const [t, all] of gradients.entries()) {
        const mean = meanOf(all)
        const most = Math.min(Math.max(...ranks), rows, cols)
        const { s } = await svd(kernels, mean, rows, cols, most, { tolerance: 0, iterations: 200 })
        for (const rank of ranks) {
          const caught = s.slice(0, rank).reduce((sum, x) => sum + x * x, 0)
          const error = Math.sqrt(Math.max(0, 1 - caught / norm(mean) ** 2))
          same(error, truth('best', t, index, rank), `step ${t}, matrix ${index}, rank ${rank}`)
        }
      }
    }
  })

  for (const [what, kind, options] of [
    ['with error feedback', 'alg1', { method: paper() }],
    ['without', 'alg1_noef', { method: paper(), errorFeedback: 'none' }],
    ['by the defaults, without epsilon', 'own_exact', { minCompressionRate: 0 }],
  ] as const) {
    test(`${title}: errors ${what}`, async () => {
      for (const rank of ranks) {
        const errors = await errorsOf(file, found, rank, options)
        for (const [t, step] of errors.entries()) {
          for (const [k, error] of step.entries()) {
            const { index } = found[k]!
            const expected = truth(`${kind}/error`, t, index, rank)
            same(error, expected, `step ${t}, matrix ${index}, rank ${rank}`)
          }
        }
      }
    })
  }
}

test.run()

/** ‖X − update‖ ÷ ‖X‖ by step, then by matrix, where X is the mean of gradient + residual. */
async function errorsOf(
  file: Recording<Config>,
  found: readonly Matrix[],
  rank: number,
  options: Options,
): Promise<number[][]> {
  const restore = stateOf(
    new Map(
      found.map(({ index, shape }, k) => {
        const data = file.factor(`init/q/${rank}/${index}`)
        const cols = found[k]!.gradients[0]![0]!.length / shape[0]!
        return [k, { data, rank: data.length / cols }]
      }),
    ),
  )
  const shapes = found.map(({ shape }) => shape)
  const workers = await createFleet(shapes, file.config.workers, { ...options, rank, restore })
  const errors: number[][] = []
  for (const t of range(file.config.steps)) {
    const gradients = workers.map((_, w) => found.map((matrix) => matrix.gradients[t]![w]!))
    const { inputs, updates } = await observe(workers, gradients)
    errors.push(
      found.map((_, k) => {
        const x = meanOf(inputs.map((arrays) => arrays[k]!))
        return distance(x, updates[0]![k]!) / norm(x)
      }),
    )
  }
  return errors
}

function same(got: number, want: number, what: string): void {
  assert.ok(Math.abs(got - want) <= TOLERANCE, `${what}: ${got} for ${want}`)
}
