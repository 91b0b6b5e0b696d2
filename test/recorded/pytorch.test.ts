// `method: pytorch()` against what PyTorch's hook computed: whole runs, and each compressed step from
// the state that was recorded before it. One compressor has all parameters: buckets, and equal shapes
// stacked in them, are a matter of packing, as `buckets-batched-shapes-w4-r1` shows.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Compressor, createCompressor, type Options, plan } from '../../src/index.ts'
import { createWasmKernels, layoutPlan } from '../../src/kernels.ts'
import { pytorch } from '../../src/methods.ts'
import { residualsOf, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { norm } from '../support/norms.ts'
import { drawn, type HookCase, type HookConfig, parametersOf } from './hook.ts'
import { close, conserved, largest, recording, stateOf } from './recording.ts'

const CASES = [
  'buckets-batched-shapes-w4-r1',
  'edges-eps-w2-r4',
  'edges-noeps-w2-r1',
  'ef-cold-w2-r1',
  'ef-warm-w4-r2',
  'noef-cold-start1-w2-r2',
  'noef-warm-w2-r4',
]

// Relative to the largest entry of gradient + residual, or of the factor; see paper.test.ts.
const STEP = 1e-5
const CHAIN = 1e-4
const FACTOR = 1e-3

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
      shapes.map((_, i) => i).filter((i) => parameters[i]!.rank > 0),
      compressed.sort((a, b) => a - b),
    )
    assert.is(floats * (steps - first), stats.after)
    assert.is(denseFloats * (steps - first), stats.before)
  })

  test(`${name}: the run`, async () => {
    const workers = await fleet(file, 0)
    for (let t = 0; t < steps; t++) await compareStep(file, workers, t, CHAIN)
  })

  test(`${name}: each step by itself`, async () => {
    for (let t = first; t < steps; t++) await compareStep(file, await fleet(file, t), t, STEP)
  })
}

test('edges-noeps-w2-r1: where the hook has NaN for ever, zeros', async () => {
  const file = recording<HookConfig>('pytorch-hook/edges-noeps-w2-r1')
  const workers = await fleet(file, 0)
  const nan: number[] = []
  for (let t = 0; t < file.config.steps; t++) {
    const { updates } = await stepTogether(workers, gradientsOf(file, t))
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
  for (let t = 0; t < file.config.steps; t++) await stepTogether(workers, gradientsOf(file, t))
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

/** Workers that stand before step t: new at first, later with what was recorded before it. */
function fleet(file: HookCase, t: number): Promise<Compressor[]> {
  const options: Options = { ...optionsOf(file), random: drawn(file, String) }
  const later: Options = t === 0 ? {} : { startCompressingAfter: 0 }
  return Promise.all(
    Array.from({ length: file.config.workers }, (_, sender) => {
      const restore = t === 0 ? {} : { restore: stateBefore(file, t, sender) }
      return createCompressor(file.config.shapes, { ...options, ...later, ...restore, sender })
    }),
  )
}

/** What the hook kept, except for what is NaN there: that is new here. */
function stateBefore(file: HookCase, t: number, worker: number): Uint8Array {
  const { shapes, state } = file.config
  const first = state.start_powerSGD_iter
  const kept = state.warm_start && t > first
  const factors = layoutPlan(shapes, optionsOf(file)).matrices.map(({ index, rank }) => {
    const [start, before] = [`step${t}/q_start/${index}`, `step${t - 1}/q/${index}`]
    const found = kept ? file.factor(before) : null
    const usable = found?.every(Number.isFinite) ? found : null
    const data = usable ?? file.factor(state.warm_start ? `step${first}/q_start/${index}` : start)
    return [index, { data, rank }] as const
  })
  const residuals = residualsBefore(file, t, worker).map(
    (data, i) => [i, { data, shape: shapes[i]! }] as const,
  )
  return stateOf(new Map(factors), new Map(residuals))
}

/** Zeros where the hook had none yet, or NaN. */
function residualsBefore(file: HookCase, t: number, worker: number): Float32Array[] {
  const { state } = file.config
  const none = !state.use_error_feedback || t <= state.start_powerSGD_iter
  const found = parametersOf(file, none ? t : t - 1, `worker${worker}/${none ? 'input' : 'error'}`)
  return found.map((x) => x.map((value) => (none || Number.isNaN(value) ? 0 : value)))
}

function gradientsOf(file: HookCase, t: number): Float32Array[][] {
  return Array.from({ length: file.config.workers }, (_, w) =>
    parametersOf(file, t, `worker${w}/input`),
  )
}

/** Steps all workers with the recorded gradients and compares. */
async function compareStep(
  file: HookCase,
  workers: readonly Compressor[],
  t: number,
  tolerance: number,
): Promise<void> {
  const { shapes, state, float64_replay: replay } = file.config
  const compressed = t >= state.start_powerSGD_iter
  const gradients = gradientsOf(file, t)
  const pending = await Promise.all(workers.map(residualsOf))
  const { means, updates } = await stepTogether(workers, gradients)
  const residuals = await Promise.all(workers.map(residualsOf))
  const whole = Math.hypot(...updates[0]!.map(norm))
  const told = workers[0]!.updateNorm!
  assert.ok(Math.abs(told - whole) <= 1e-6 * whole, `updateNorm: ${told} for ${whole}`)

  const outputs = parametersOf(file, t, 'output')
  for (const [i] of shapes.entries()) {
    const what = (name: string) => `step ${t}, parameter ${i}: ${name}`
    const before = (w: number) => residualsBefore(file, t, w)[i]!
    const size = largest(...gradients.map((g, w) => g[i]!.map((x, j) => x + before(w)[j]!)))
    if (state.use_error_feedback) {
      conserved(
        gradients.map((g, w) => g[i]!.map((x, j) => x + pending[w]![i]![j]!)),
        updates[0]![i]!,
        residuals.map((e) => e[i]!),
        what('conservation'),
      )
    }
    if (t >= replay.comparable_steps[i]! || outputs[i]!.some(Number.isNaN)) continue
    for (const [w] of workers.entries()) {
      close(updates[w]![i]!, outputs[i]!, tolerance, size, what('update'))
      const recorded = state.use_error_feedback && compressed
      const error = recorded
        ? parametersOf(file, t, `worker${w}/error`)[i]!
        : outputs[i]!.map(() => 0)
      close(residuals[w]![i]!, error, tolerance, size, what(`residual of worker ${w}`))
    }
  }
  if (compressed)
    await compareFactors(
      file,
      means.map((mean) => open(mean).floats),
      t,
    )
}

/** P̂ as it is made of the first mean, and Q of the second; signs are LAPACK's above rank 2. */
async function compareFactors(
  file: HookCase,
  [first, second]: readonly Float32Array[],
  t: number,
): Promise<void> {
  const { shapes, float64_replay: replay } = file.config
  for (const { index, rows, cols, rank, left, right } of layoutPlan(shapes, optionsOf(file))
    .matrices) {
    if (t >= replay.comparable_factor_steps[index]!) continue
    const hat = first!.slice(left, left + rows * rank)
    const q = second!.slice(right, right + cols * rank)
    // Of a zero column the hook makes NaN or zeros, LAPACK unit vectors.
    if ((await kernels.orthonormalize(hat, rows, rank)) < rank) {
      assert.is(largest(q), 0)
      continue
    }
    const [wantHat, wantQ] = [
      file.factor(`step${t}/p_hat/${index}`),
      file.factor(`step${t}/q/${index}`),
    ]
    for (let k = 0; rank > 2 && k < rank; k++) {
      const column = hat.subarray(k * rows, (k + 1) * rows)
      const along = column.reduce((sum, x, i) => sum + x * wantHat[k * rows + i]!, 0)
      const sign = along < 0 ? -1 : 1
      column.set(column.map((x) => sign * x))
      const partner = q.subarray(k * cols, (k + 1) * cols)
      partner.set(partner.map((x) => sign * x))
    }
    const what = (name: string) => `step ${t}, parameter ${index}: ${name}`
    close(hat, wantHat, FACTOR, largest(wantHat), what('p_hat'))
    close(q, wantQ, FACTOR, largest(wantQ), what('q'))
  }
}
