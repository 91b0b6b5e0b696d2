// `method: pytorch()` against recorded results of PyTorch's hook: whole runs, and each compressed
// step from the state recorded before it. One compressor has all parameters: buckets, and equal
// shapes stacked in them, only change the packing, as `buckets-batched-shapes-w4-r1` shows.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Compressor, type Options, plan } from '../../src/index.ts'
import { createLayout, createWasmKernels } from '../../src/kernels.ts'
import { pytorch } from '../../src/methods.ts'
import { createFleet, residualsOf, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { drawn, type HookCase, type HookConfig, parametersOf } from './hook.ts'
import { close, largest, recording, stateOf } from './recording.ts'
import {
  FACTOR,
  gradientsOf,
  type Recorded,
  range,
  scaledColumns,
  signsOf,
  testReplay,
} from './replay.ts'

const CASES = [
  'buckets-batched-shapes-w4-r1',
  'edges-eps-w2-r4',
  'edges-noeps-w2-r1',
  'ef-cold-w2-r1',
  'ef-warm-w4-r2',
  'noef-cold-start1-w2-r2',
  'noef-warm-w2-r4',
]

const kernels = await createWasmKernels()
const test = suite('recorded: pytorch-hook')

for (const name of CASES) {
  const file = recording<HookConfig>(`pytorch-hook/${name}`)
  const { shapes, state, steps, buckets, compression_stats: stats } = file.config
  const first = state.start_powerSGD_iter

  test(`${name}: the same matrices, and as many floats`, () => {
    const { parameters, floats, denseFloats } = plan(shapes, optionsOf(file))
    const compressed = buckets[first]!.flatMap((bucket) => bucket.compressed)
    assert.equal(
      shapes.map((_, i) => i).filter((i) => parameters[i]!.rank !== 0),
      compressed.sort((a, b) => a - b),
    )
    assert.is(floats * (steps - first), stats.after)
    assert.is(denseFloats * (steps - first), stats.before)
  })

  testReplay(test, name, {
    ...recordedByHook(file),
    fleet: (t) => fleet(file, t),
    first,
    conserves: () => state.use_error_feedback,
    async compare(t, { means }) {
      if (t < first) return
      await compareFactors(
        file,
        means.map((mean) => open(mean).floats),
        t,
      )
    },
  })
}

test('edges-noeps-w2-r1: where the hook has NaN for ever, zeros', async () => {
  const file = recording<HookConfig>('pytorch-hook/edges-noeps-w2-r1')
  const workers = await fleet(file, 0)
  const nan: number[] = []
  for (let t = 0; t < file.config.steps; t++) {
    const { updates } = await stepTogether(workers, gradientsOf(recordedByHook(file), t))
    const residuals = await Promise.all(workers.map(residualsOf))
    for (const [i, want] of parametersOf(file, t, 'output').entries()) {
      const all = [...updates, ...residuals].map((arrays) => arrays[i]!)
      assert.ok(all.every((x) => x.every(Number.isFinite)))
      if (!want.some(Number.isNaN)) continue
      nan.push(i)
      assert.ok(all.every((x) => x.every((value) => value === 0)))
    }
  }
  assert.equal(nan, [0, 4, 0, 4])
})

test('what raw parameters keep adds up to nothing, and is not nothing', async () => {
  const file = recording<HookConfig>('pytorch-hook/ef-warm-w4-r2')
  const workers = await fleet(file, 0)
  for (let t = 0; t < file.config.steps; t++)
    await stepTogether(workers, gradientsOf(recordedByHook(file), t))
  const residuals = await Promise.all(workers.map(residualsOf))
  const raw = workers[0]!.stats.ranks.flatMap((rank, i) => (rank === 0 ? [i] : []))
  assert.equal(raw, [2, 5, 6])
  for (const i of raw) {
    const own = residuals.map((arrays) => arrays[i]!)
    const sum = own[0]!.map((_, j) => own.reduce((total, x) => total + x[j]!, 0))
    assert.ok(largest(...own) > 0.1)
    close(
      sum,
      sum.map(() => 0),
      1e-6,
      largest(...own),
      `parameter ${i}`,
    )
  }
})

test.run()

function optionsOf({ config: { state } }: HookCase): Options {
  return {
    method: pytorch(),
    rank: state.matrix_approximation_rank,
    minCompressionRate: state.min_compression_rate,
    startCompressingAfter: state.start_powerSGD_iter,
    warmStart: state.warm_start,
    ...(!state.use_error_feedback && { errorFeedback: 'none' }),
  }
}

/** Workers before step t: new before the first step, later with the recorded state. */
function fleet(file: HookCase, t: number): Promise<Compressor[]> {
  const options: Options = { ...optionsOf(file), random: drawn(file, String) }
  if (t === 0) return createFleet(file.config.shapes, file.config.workers, options)
  const states = range(file.config.workers).map((w) => ({ restore: stateBefore(file, t, w) }))
  return createFleet(file.config.shapes, states, { ...options, startCompressingAfter: 0 })
}

/** The hook's factors and residuals before step t, with new ones in place of NaN. */
function stateBefore(file: HookCase, t: number, worker: number): Uint8Array {
  const { shapes, state } = file.config
  const first = state.start_powerSGD_iter
  const kept = state.warm_start && t > first
  const factors = createLayout(shapes, optionsOf(file)).matrices.map(({ index, rank }) => {
    const [start, before] = [`step${t}/q_start/${index}`, `step${t - 1}/q/${index}`]
    const found = kept ? file.factor(before) : null
    const usable = found?.every(Number.isFinite) ? found : null
    const data = usable ?? file.factor(state.warm_start ? `step${first}/q_start/${index}` : start)
    return [index, { data, rank }] as const
  })
  const { residual } = recordedByHook(file)
  const residuals = shapes.map(
    (shape, i) => [i, { data: residual(t - 1, worker, i), shape }] as const,
  )
  return stateOf(new Map(factors), new Map(residuals))
}

/** The steps of a run of the hook, cut from its buckets. */
function recordedByHook(file: HookCase): Recorded {
  const { workers, steps, shapes, state, float64_replay: replay } = file.config
  const gradient = (t: number, w: number, i: number) =>
    parametersOf(file, t, `worker${w}/input`)[i]!
  const update = (t: number, i: number) => parametersOf(file, t, 'output')[i]!
  return {
    workers,
    steps,
    parameters: shapes.length,
    gradient,
    update,
    // Zeros where the hook had no residual yet, or NaN.
    residual(t, w, i) {
      if (!state.use_error_feedback || t < state.start_powerSGD_iter) {
        return gradient(0, w, i).map(() => 0)
      }
      const error = parametersOf(file, t, `worker${w}/error`)[i]!
      return error.map((value) => (Number.isNaN(value) ? 0 : value))
    },
    comparable: (t, i) => t < replay.comparable_steps[i]! && !update(t, i).some(Number.isNaN),
  }
}

/**
 * Compares P̂, the basis of the first mean, and Q of the second; above rank 2, LAPACK chooses
 * signs.
 */
async function compareFactors(
  file: HookCase,
  [first, second]: readonly Float32Array[],
  t: number,
): Promise<void> {
  const { shapes, float64_replay: replay } = file.config
  for (const { index, rows, cols, rank, left, right } of createLayout(shapes, optionsOf(file))
    .matrices) {
    if (t >= replay.comparable_factor_steps[index]!) continue
    const hat = first!.slice(left, left + rows * rank)
    const q = second!.slice(right, right + cols * rank)
    // The hook turns a zero column into NaN or zeros, LAPACK into a unit vector.
    if ((await kernels.orthonormalize(hat, rows, rank)) < rank) {
      assert.is(largest(q), 0)
      continue
    }
    const [wantHat, wantQ] = [
      file.factor(`step${t}/p_hat/${index}`),
      file.factor(`step${t}/q/${index}`),
    ]
    const signs = signsOf(hat, wantHat, rank).map((sign) => (rank > 2 ? sign : 1))
    const what = (name: string) => `step ${t}, parameter ${index}: ${name}`
    close(scaledColumns(hat, signs), wantHat, FACTOR, largest(wantHat), what('p_hat'))
    close(scaledColumns(q, signs), wantQ, FACTOR, largest(wantQ), what('q'))
  }
}
