// The paper authors' code goes wrong in edges-w2-r4 (rank 4, two workers); the defaults do not.
// Both have the same gradients and first factors; there is no preset.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createWasmKernels, svd } from '../../src/kernels.ts'
import { sameFloats } from '../support/close.ts'
import { createFleet } from '../support/fleet.ts'
import { ALL, distance, norm } from '../support/norms.ts'
import { close, conserved, largest, meanOf, recording, stateOf } from './recording.ts'
import { observe } from './replay.ts'

interface Config {
  readonly rank: number
  readonly workers: number
  readonly steps: number
  readonly shapes: readonly (readonly number[])[]
}

const RANK1 = 1
const TRILLIONTH = 2
const ZERO_FIRST = 6
const TENTH_OF_A_MILLIONTH = 7

const file = recording<Config>('paper-algorithm1/edges-w2-r4')
const test = suite('recorded: where the defaults do better')

test('a gradient of rank 1, at rank 4, comes through whole', async () => {
  for (const [t, { x, update }] of (await run(RANK1)).entries()) {
    close(update, x, 1e-5, largest(x), `step ${t}`)
  }
  // Gram–Schmidt in one pass makes columns of rounding noise that are not orthogonal.
  for (const [t, { x, update }] of recorded(RANK1).entries()) {
    assert.ok(distance(x, update) > 0.5 * norm(x), `step ${t}`)
  }
})

test('a matrix that was zero is sent again', async () => {
  const [first, ...later] = await run(ZERO_FIRST)
  assert.ok(first!.update.every((value) => value === 0))
  for (const [t, step] of later.entries()) await nearlyBest(step, ZERO_FIRST, `step ${t + 1}`)
  for (const { x, update } of recorded(ZERO_FIRST).slice(1)) {
    assert.ok(norm(x) > 0 && update.every((value) => value === 0))
  }
})

for (const parameter of [TRILLIONTH, TENTH_OF_A_MILLIONTH]) {
  test(`small gradients are not damped: parameter ${parameter}`, async () => {
    for (const [t, step] of (await run(parameter)).entries()) {
      await nearlyBest(step, parameter, `step ${t}`)
    }
    for (const { x, update } of recorded(parameter).slice(1)) {
      assert.ok(norm(update) < 1e-6 * norm(x))
    }
  })
}

test('nothing depends on the scale, to the bit', async () => {
  const scale = 2 ** 60
  const small = await run(TRILLIONTH)
  for (const [t, { update }] of (await run(TRILLIONTH, scale)).entries()) {
    sameFloats(
      update,
      small[t]!.update.map((value) => scale * value),
      `step ${t}`,
    )
  }
})

test.run()

/** The mean over the workers of gradient + residual, and the update. */
interface Seen {
  readonly x: Float32Array
  readonly update: Float32Array
}

/** One parameter's steps under the defaults. */
async function run(i: number, scale = 1): Promise<Seen[]> {
  const { rank, workers: count, steps, shapes } = file.config
  const restore = stateOf(new Map([[0, { data: file.factor(`init/q/${i}`), rank }]]))
  const workers = await createFleet([shapes[i]!], count, { ...ALL, rank, restore })
  const seen: Seen[] = []
  for (let t = 0; t < steps; t++) {
    const gradients = workers.map((_, w) => [
      file.get(`step${t}/worker${w}/grad/${i}`).map((g) => scale * g),
    ])
    const step = await observe(workers, gradients)
    const [inputs, left] = [step.inputs, step.residuals].map((all) => all.map(([x]) => x!))
    const update = step.updates[0]![0]!
    conserved(inputs!, update, left!, `step ${t}: conservation`)
    seen.push({ x: meanOf(inputs!), update })
  }
  return seen
}

/** The steps of the recorded run, in the same form. */
function recorded(i: number): Seen[] {
  return Array.from({ length: file.config.steps }, (_, t) => {
    const inputs = Array.from({ length: file.config.workers }, (_, w) =>
      file.get(`step${t}/worker${w}/grad/${i}`).map((g, j) => {
        return t === 0 ? g : g + file.get(`step${t - 1}/worker${w}/residual/${i}`)[j]!
      }),
    )
    return { x: meanOf(inputs), update: file.get(`step${t}/update/${i}`) }
  })
}

/** Fails unless the error is below twice the best of that rank. (1.27 to 1.82 times were seen.) */
async function nearlyBest({ x, update }: Seen, i: number, what: string): Promise<void> {
  const rows = file.config.shapes[i]![0]!
  const { s } = await svd(await createWasmKernels(), x, rows, x.length / rows, file.config.rank)
  const best = Math.sqrt(norm(x) ** 2 - s.reduce((sum, value) => sum + value * value, 0))
  const error = distance(x, update)
  assert.ok(error <= 2 * best, `${what}: ${error / norm(x)}, the best is ${best / norm(x)}`)
}
