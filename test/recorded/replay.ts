// Compressors take recorded runs again: a whole run from its beginning, and each step from the
// state recorded before it. A case says where its file has the numbers.
import type { Test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Compressor } from '../../src/index.ts'
import { residualsOf, type Step, stepTogether } from '../support/fleet.ts'
import { norm } from '../support/norms.ts'
import { close, conserved, largest, type Recording } from './recording.ts'

/** Tolerances relative to the largest entry of gradient + residual, or of a factor. */
export interface Tolerances {
  /** of one step from the recorded state */
  readonly step: number
  /** of a step after all those before it */
  readonly run: number
}

/** For steps of PowerSGD's authors or PyTorch; paper.test.ts has the reason for their size. */
export const TOLERANCES: Tolerances = { step: 1e-5, run: 1e-4 }
export const FACTOR = 1e-3

/** The steps of a file; `w` is a worker, `i` a parameter. */
export interface Recorded {
  readonly workers: number
  readonly steps: number
  readonly parameters: number
  gradient(t: number, w: number, i: number): Float32Array
  /** after step t; zeros after step −1 */
  residual(t: number, w: number, i: number): Float32Array
  update(t: number, i: number): Float32Array
  /** false: the step's result depends on rounding noise, or is NaN */
  comparable(t: number, i: number): boolean
}

export interface Replay extends Recorded {
  /** workers before step t */
  fleet(t: number): Promise<Compressor[]>
  /** the first step that can be taken alone; default 0 */
  readonly first?: number
  /** false: what is sent and what is kept do not add up to the input; default true */
  conserves?(i: number): boolean
  /** compares more of a step, such as its factors */
  compare?(t: number, step: Observed): void | Promise<void>
  /** called with the workers of a whole run; its result is called with each step */
  follow?(workers: readonly Compressor[]): Promise<(t: number, step: Step) => Promise<void>>
}

/** The names that most files have in common. */
export function recordedBy({
  config,
  get,
}: Recording<{
  readonly workers: number
  readonly steps: number
  readonly shapes: readonly (readonly number[])[]
  readonly float64_replay: {
    /** how many steps do not hang on rounding noise, by parameter */
    readonly comparable_steps: readonly number[]
  }
}>): Recorded {
  const gradient = (t: number, w: number, i: number) => get(`step${t}/worker${w}/grad/${i}`)
  return {
    workers: config.workers,
    steps: config.steps,
    parameters: config.shapes.length,
    gradient,
    residual: (t, w, i) =>
      t < 0 ? gradient(0, 0, i).map(() => 0) : get(`step${t}/worker${w}/residual/${i}`),
    update: (t, i) => get(`step${t}/update/${i}`),
    comparable: (t, i) => t < config.float64_replay.comparable_steps[i]!,
  }
}

/** Declares two tests of a case: the whole run, and each step alone. */
export function testReplay(
  test: Test,
  name: string,
  replay: Replay,
  tolerances: Tolerances = TOLERANCES,
): void {
  test(`${name}: the run`, async () => {
    const workers = await replay.fleet(0)
    const follow = await replay.follow?.(workers)
    for (let t = 0; t < replay.steps; t++) {
      const step = await compareStep(replay, workers, t, tolerances.run)
      await follow?.(t, step)
    }
  })

  test(`${name}: each step by itself`, async () => {
    for (let t = replay.first ?? 0; t < replay.steps; t++) {
      await compareStep(replay, await replay.fleet(t), t, tolerances.step)
    }
  })
}

/** All workers' gradients of a step, by worker. */
export function gradientsOf(recorded: Recorded, t: number): Float32Array[][] {
  return range(recorded.workers).map((w) =>
    range(recorded.parameters).map((i) => recorded.gradient(t, w, i)),
  )
}

/** A step with its inputs, gradient + residual, and its residuals: by worker, then by parameter. */
export interface Observed extends Step {
  readonly inputs: Float32Array[][]
  readonly residuals: Float32Array[][]
}

export async function observe(
  workers: readonly Compressor[],
  gradients: readonly Float32Array[][],
): Promise<Observed> {
  const pending = await Promise.all(workers.map(residualsOf))
  const inputs = gradients.map((all, w) => all.map((g, i) => sum(g, pending[w]![i]!)))
  const step = await stepTogether(workers, gradients)
  const residuals = await Promise.all(workers.map(residualsOf))
  return { ...step, inputs, residuals }
}

/** Takes a recorded step; compares updates, residuals, and the case's own values. */
async function compareStep(
  replay: Replay,
  workers: readonly Compressor[],
  t: number,
  tolerance: number,
): Promise<Step> {
  const gradients = gradientsOf(replay, t)
  const step = await observe(workers, gradients)
  const { updates, inputs, residuals } = step
  for (const [w, worker] of workers.entries()) {
    const whole = Math.hypot(...updates[w]!.map(norm))
    const off = Math.abs(worker.updateNorm! - whole)
    assert.ok(off <= 1e-6 * whole, `updateNorm of worker ${w}: ${worker.updateNorm} for ${whole}`)
  }
  for (let i = 0; i < replay.parameters; i++) {
    const what = (name: string) => `step ${t}, parameter ${i}: ${name}`
    if (replay.conserves?.(i) ?? true) {
      const [own, left] = [inputs, residuals].map((all) => all.map((arrays) => arrays[i]!))
      conserved(own!, updates[0]![i]!, left!, what('conservation'))
    }
    if (!replay.comparable(t, i)) continue
    // The scale is that of the recorded inputs: ours may have drifted away.
    const size = largest(...gradients.map((g, w) => sum(g[i]!, replay.residual(t - 1, w, i))))
    for (const [w] of workers.entries()) {
      close(updates[w]![i]!, replay.update(t, i), tolerance, size, what('update'))
      const kept = replay.residual(t, w, i)
      close(residuals[w]![i]!, kept, tolerance, size, what(`residual of worker ${w}`))
    }
  }
  await replay.compare?.(t, step)
  return step
}

/** −1 for each column that points away from the wanted one: LAPACK's QR chooses a sign for each. */
export function signsOf(got: Float32Array, want: Float32Array, rank: number): number[] {
  const length = got.length / rank
  return range(rank).map((k) => {
    const at = k * length
    const along = got.slice(at, at + length).reduce((all, x, i) => all + x * want[at + i]!, 0)
    return along < 0 ? -1 : 1
  })
}

/** Multiplies each column by its own number. */
export function scaledColumns(columns: Float32Array, factors: readonly number[]): Float32Array {
  const length = columns.length / factors.length
  return columns.map((x, at) => factors[Math.floor(at / length)]! * x)
}

export function range(n: number): number[] {
  return Array.from({ length: n }, (_, i) => i)
}

function sum(x: Float32Array, y: Float32Array): Float32Array {
  return x.map((value, j) => value + y[j]!)
}
