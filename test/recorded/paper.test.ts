// `method: paper()` against recorded results of the paper authors' code: whole runs, and each step
// from the state recorded before it.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  type Compressor,
  createCompressor,
  createSgd,
  type Options,
  plan,
  type Random,
} from '../../src/index.ts'
import { createLayout } from '../../src/kernels.ts'
import { gramSchmidt } from '../../src/linalg/gram-schmidt.ts'
import { paper } from '../../src/methods.ts'
import { createFleet, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { norm } from '../support/norms.ts'
import { readState } from '../support/safetensors.ts'
import { close, largest, type Recording, recording, stateOf } from './recording.ts'
import { FACTOR, range, recordedBy, testReplay } from './replay.ts'

interface Config {
  readonly rank: number
  readonly reuse_query: boolean
  readonly workers: number
  readonly steps: number
  readonly shapes: readonly (readonly number[])[]
  readonly compressed: readonly boolean[]
  readonly lr: number
  readonly momentum: number
  readonly weight_decay: number
  readonly bits_counted_by_reducer_rank0: number
  readonly float64_replay: {
    /** how many steps do not hang on rounding noise, by parameter */
    readonly comparable_steps: readonly number[]
    readonly comparable_factor_steps: readonly number[]
  }
}

type Case = Recording<Config>

const CASES = [
  'cold-w2-r1',
  'edges-w2-r4',
  'larger-w4-r2',
  'normal-w2-r2',
  'rank-high-w1-r4',
  'warm-w2-r1',
]

// The tolerances of replay.ts: in float64 the same rule differs from the recordings by up to 1.5e-6
// in a step, 7.9e-6 in a run, and factors by 8.6e-5.
const OPTIMISER = 1e-6

const test = suite('recorded: paper-algorithm1')

for (const name of CASES) {
  const file = recording<Config>(`paper-algorithm1/${name}`)

  test(`${name}: the same matrices, and as many bits`, () => {
    const { shapes, compressed, steps, bits_counted_by_reducer_rank0: bits } = file.config
    const { parameters, floats } = plan(shapes, optionsOf(file))
    assert.equal(
      parameters.map(({ rank }) => rank !== 0),
      compressed,
    )
    assert.is(32 * floats * steps, bits)
  })

  testReplay(test, name, {
    ...recordedBy(file),
    fleet: (t) => fleet(file, t),
    compare: (t, { means }) => compareFactors(file, means.map(open), t),
    async follow(workers) {
      const models = await Promise.all(workers.map((worker) => modelOf(file, worker)))
      return async (t, { updates }) => {
        for (const [w, model] of models.entries()) await model?.compare(updates[w]!, t)
      }
    },
  })
}

for (const [i, what] of [
  [1, 'not orthogonal'],
  [7, 'not of length 1'],
] as const) {
  test(`updateNorm where the columns of P̂ are ${what}`, async () => {
    const file = recording<Config>('paper-algorithm1/edges-w2-r4')
    const restore = stateOf(new Map([[0, factorOf(file, `init/q/${i}`, i)]]))
    const worker = await createCompressor([file.config.shapes[i]!], {
      ...optionsOf(file),
      restore,
    })
    let unlike = 0
    for (let t = 0; t < file.config.steps; t++) {
      const gradient = file.get(`step${t}/worker0/grad/${i}`)
      const { means, updates } = await stepTogether([worker], [[gradient]])
      const length = norm(updates[0]![0]!)
      assert.ok(Math.abs(worker.updateNorm! - length) <= 1e-6 * length, `step ${t}`)
      unlike = Math.max(unlike, Math.abs(norm(open(means[1]!).floats) / length - 1))
    }
    assert.ok(unlike > 0.1, 'it is not ‖Q̄‖')
  })
}

test.run()

function optionsOf({ config: { rank, reuse_query } }: Case): Options {
  return { method: paper(), rank, warmStart: reuse_query }
}

/** Workers before step t: new before the first step, later with the recorded state. */
function fleet(file: Case, t: number): Promise<Compressor[]> {
  const { workers, shapes, reuse_query } = file.config
  const options = optionsOf(file)
  // Without warm start, a run draws its queries, and a single step is given one.
  if (t === 0 && !reuse_query) {
    return createFleet(shapes, workers, { ...options, random: drawn(file) })
  }
  const query = reuse_query ? (t === 0 ? 'init/q' : `step${t - 1}/q`) : `step${t}/q_in`
  const states = range(workers).map((w) => ({ restore: stateBefore(file, t, query, w) }))
  return createFleet(shapes, states, options)
}

/** Draws the recorded queries; zeros for the step after the last, which is not recorded. */
function drawn(file: Case): Random {
  return (use, parameter, column, step, length) => {
    assert.is(use, 0, 'only first factors are drawn')
    if (step === file.config.steps) return new Float32Array(length)
    const query = file.factor(`step${step}/q_in/${parameter}`)
    return query.slice(column * length, (column + 1) * length)
  }
}

function stateBefore(file: Case, t: number, query: string, worker: number): Uint8Array {
  const { shapes, compressed } = file.config
  const matrices = [...shapes.keys()].filter((i) => compressed[i])
  const { residual } = recordedBy(file)
  return stateOf(
    new Map(matrices.map((i) => [i, factorOf(file, `${query}/${i}`, i)])),
    new Map(matrices.map((i) => [i, { data: residual(t - 1, worker, i), shape: shapes[i]! }])),
  )
}

function factorOf(file: Case, name: string, i: number) {
  const { rank, shapes } = file.config
  const { parameters } = createLayout(shapes, { method: paper(), rank })
  return { data: file.factor(name), rank: parameters[i]!.rank }
}

/** Compares P and Q with the means of the two rounds, and P̂ with the basis of the first mean. */
function compareFactors(
  file: Case,
  [first, second]: readonly { floats: Float32Array; weight: number }[],
  t: number,
): void {
  const { shapes, float64_replay: replay } = file.config
  const layout = createLayout(shapes, optionsOf(file))
  const hat = first!.floats.slice()
  gramSchmidt(layout, hat, 1e-8 / first!.weight)
  for (const { index, rows, cols, rank, left, right } of layout.matrices) {
    if (t >= replay.comparable_factor_steps[index]!) continue
    const p = first!.floats.slice(left, left + rows * rank)
    const recorded = {
      p_sum: p.map((x) => x * first!.weight),
      p_hat: hat.slice(left, left + rows * rank),
      q: second!.floats.slice(right, right + cols * rank),
    }
    for (const [name, got] of Object.entries(recorded)) {
      const want = file.factor(`step${t}/${name}/${index}`)
      close(got, want, FACTOR, largest(want), `step ${t}, parameter ${index}: ${name}`)
    }
  }
}

/** One worker's parameters under the paper's optimiser, if the case has them. */
async function modelOf(file: Case, worker: Compressor) {
  const { shapes, lr, momentum, weight_decay: weightDecay } = file.config
  if (!file.has('init/param/0')) return null
  const parameters = shapes.map((_, i) => file.get(`init/param/${i}`).slice())
  const sgd = await createSgd(worker, { learningRate: lr, momentum, weightDecay })
  return {
    async compare(update: readonly Float32Array[], t: number): Promise<void> {
      sgd.apply(parameters, update)
      const { tensors } = readState(await sgd.save())
      for (const [i, x] of parameters.entries()) {
        const param = file.get(`step${t}/param/${i}`)
        close(x, param, OPTIMISER, largest(param), `step ${t}, parameter ${i}`)
        const m = file.get(`step${t}/momentum/${i}`)
        const { data } = tensors.get(`momentum/${i}`)!
        close(data, m, OPTIMISER, largest(m), `step ${t}, momentum ${i}`)
      }
    },
  }
}
