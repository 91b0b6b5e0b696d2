// `refresh` and `warmStart: 'fixed'`: the query that a step begins with, and its effect on descent.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  aggregate,
  type Compressor,
  createCompressor,
  FrameError,
  type Options,
  type Random,
} from '../../src/index.ts'
import { sameBytes, sameFloats, within } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { createFleet, residualsOf, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { ALL, norm } from '../support/norms.ts'
import { gradientsOf, uniform } from '../support/numbers.ts'
import { readState, writeState } from '../support/safetensors.ts'

const SHAPES = [[9, 7], [4], [5, 8]]

const test = suite('refresh')

// Two blocks of rank 1, and a query that is zero in the second block. Then P is zero in the second
// block's rows, so P̂ is as well, and Q is zero in its columns. These are products with zeros: no
// rounding changes that.
const SIDE = 8
const BLOCK = SIDE / 2
const target = blocks()

test('a query that is orthogonal to part of the gradient never finds it', async () => {
  const { x, pending } = await descend({})
  assert.ok(offBy(x, true) < 1e-3 * offBy(zeros(), true), 'the first block is learnt')
  for (const [at, value] of x.entries()) if (!inFirst(at)) assert.is(value, 0, `x[${at}]`)
  // Feedback alone does not help: the residual grows with each step, and is never sent.
  const second = target.map((value, at) => (inFirst(at) ? 0 : -50 * value))
  within(pending, second, () => 1e-3, 'residual of the second block')
})

test('with refresh it is found and learnt', async () => {
  const { x } = await descend({ refresh: 10 })
  assert.ok(offBy(x, true) < 1e-3 * offBy(zeros(), true), 'the first block')
  assert.ok(offBy(x, false) < 1e-3 * offBy(zeros(), false), 'the second block')
})

test('every so many steps, factors are drawn for the step and for it alone', async () => {
  const { random, drawn } = watched()
  const workers = await fleet(2, { refresh: 3, random })
  assert.equal(drawn.splice(0), [...draws(0), ...draws(0)])
  for (let t = 0; t < 8; t++) {
    const means = await step(workers, t)
    const fresh = (t + 1) % 3 === 0
    assert.equal(drawn.splice(0), fresh ? [...draws(t + 1), ...draws(t + 1)] : [])
    const [a, b] = [await queryOf(workers[0]!), await queryOf(workers[1]!)]
    sameFloats(b, a, `after step ${t}`)
    // Between refreshes the query is the last round's mean: warm start.
    const mean = open(means.at(-1)!).floats.subarray(0, a.length)
    if (!fresh) sameFloats(a, mean, `after step ${t}`)
    else sameFloats(a, Float32Array.from(columnsFor(t + 1)), `after step ${t}`)
  }
})

test('whoever joins draws the same', async () => {
  const workers = await fleet(2, { refresh: 3, seed: 7 })
  for (let t = 0; t < 4; t++) await step(workers, t)
  const joiner = await createCompressor(SHAPES, { ...ALL, rank: 2, refresh: 3, seed: 7, sender: 2 })
  await joiner.join(await workers[0]!.save({ residual: false }))
  workers.push(joiner)
  const before = await queryOf(joiner)
  // Through steps 4 and 5, and beyond the refresh before step 6
  for (let t = 4; t < 8; t++) {
    await step(workers, t)
    for (const worker of workers) sameFloats(await queryOf(worker), await queryOf(joiner), `${t}`)
  }
  assert.not.equal([...(await queryOf(joiner))], [...before])
})

test('nothing is lost over it: gradients are updates and what is pending', async () => {
  const workers = await fleet(3, { refresh: 2 })
  const balance = SHAPES.map((shape) => new Float64Array(shape.reduce((a, b) => a * b, 1)))
  const steps = 9
  for (let t = 0; t < steps; t++) {
    const gradients = workers.map((_, w) => gradientsOf(SHAPES, 10 * t + w))
    const { updates } = await stepTogether(workers, gradients)
    for (const [i, sum] of balance.entries()) {
      for (let j = 0; j < sum.length; j++) {
        const mean = gradients.reduce((total, g) => total + g[i]![j]!, 0) / workers.length
        sum[j] = sum[j]! + mean - updates[0]![i]![j]!
      }
    }
  }
  const residuals = await Promise.all(workers.map(residualsOf))
  for (const [i, sum] of balance.entries()) {
    const pending = sum.map((_, j) => residuals.reduce((a, e) => a + e[i]![j]! / workers.length, 0))
    const largest = Math.max(...residuals.flatMap((e) => [...e[i]!].map(Math.abs)), 1)
    within(pending, sum, () => steps * 2e-6 * largest, `parameter ${i}`)
  }
})

test('workers must agree on it; 0 is as if it had not been said', async () => {
  const frame = async (options: Options, sender: number) => {
    const worker = await createCompressor(SHAPES, { ...ALL, ...options, sender })
    return worker.compressSync(gradientsOf(SHAPES, 1))
  }
  const first = await frame({ refresh: 10 }, 0)
  assert.is(open(aggregate([first, await frame({ refresh: 10 }, 1)])).weight, 2)
  for (const refresh of [0, 11]) {
    const other = await frame({ refresh }, 1)
    assert.instance(await errorOf(() => aggregate([first, other])), FrameError)
  }
  sameBytes(await frame({ refresh: 0 }, 1), await frame({}, 1), 'frame')
  const saved = async (options: Options) =>
    readState(await (await createCompressor([[4, 4]], options)).save()).metadata.options
  const unsaid =
    '{"errorFeedback":"local","iterations":"1","minCompressionRate":"2","seed":"0",' +
    '"startCompressingAfter":"0","warmStart":"true"}'
  assert.is(await saved({ refresh: 0 }), unsaid)
  assert.is(await saved({ refresh: 5 }), unsaid.replace('"seed"', '"refresh":"5","seed"'))
})

test("warmStart: 'fixed': the first query in every step", async () => {
  const { random, drawn } = watched()
  const options = { warmStart: 'fixed', errorFeedback: 'none', random } as const
  const [worker] = await fleet(1, options)
  assert.equal(drawn.splice(0), draws(0))
  const query = await queryOf(worker!)
  const gradients = gradientsOf(SHAPES, 1)
  // Without feedback the same gradient is the same M, so with the same query P has the same bits.
  const first = open((await stepTogether([worker!], [gradients])).frames[0]![0]!).floats
  for (let t = 1; t < 4; t++) {
    await stepTogether([worker!], [gradientsOf(SHAPES, 10 + t)])
    const { frames } = await stepTogether([worker!], [gradients])
    sameFloats(open(frames[0]![0]!).floats, first, 'P')
    sameFloats(await queryOf(worker!), query, 'query')
  }
  assert.equal(drawn, [], 'nothing more is drawn')
  const [warm] = await fleet(1, { ...options, warmStart: true })
  await stepTogether([warm!], [gradients])
  const { frames } = await stepTogether([warm!], [gradients])
  assert.not.equal([...open(frames[0]![0]!).floats], [...first], 'warm start has others')
})

test("warmStart: 'fixed' with refresh: the same query until the next is drawn", async () => {
  const { random, drawn } = watched()
  const [worker] = await fleet(1, { warmStart: 'fixed', refresh: 4, random })
  drawn.length = 0
  for (let t = 0; t < 9; t++) {
    await step([worker!], t)
    assert.equal(drawn.splice(0), t % 4 === 3 ? draws(t + 1) : [])
    const from = 4 * Math.floor((t + 1) / 4)
    sameFloats(await queryOf(worker!), Float32Array.from(columnsFor(from)), `after step ${t}`)
  }
})

test.run()

/** Gradient descent on ½‖X − target‖² by one worker whose query is zero in the second block. */
async function descend(options: Options): Promise<{ x: Float32Array; pending: Float32Array }> {
  const query = Float32Array.from({ length: SIDE }, (_, j) => (j < BLOCK ? 1 + j : 0))
  const restore = writeState({ 'q/0': { shape: [1, SIDE], data: query } })
  const worker = await createCompressor([[SIDE, SIDE]], { ...ALL, ...options, rank: 1, restore })
  const x = zeros()
  for (let t = 0; t < 50; t++) {
    const { updates } = await stepTogether([worker], [[x.map((value, at) => value - target[at]!)]])
    for (const [at, u] of updates[0]![0]!.entries()) x[at] = x[at]! - 0.2 * u
  }
  return { x, pending: (await residualsOf(worker))[0]! }
}

function blocks(): Float32Array {
  const [u, v] = [uniform(SIDE, 1), uniform(SIDE, 2)]
  return zeros().map((_, at) => {
    const [i, j] = [Math.floor(at / SIDE), at % SIDE]
    return i < BLOCK === j < BLOCK ? u[i]! * v[j]! : 0
  })
}

function zeros(): Float32Array {
  return new Float32Array(SIDE * SIDE)
}

function inFirst(at: number): boolean {
  return at < SIDE * BLOCK && at % SIDE < BLOCK
}

/** ‖X − target‖ in one of the blocks. */
function offBy(x: Float32Array, first: boolean): number {
  return norm(x.map((value, at) => (inFirst(at) === first ? value - target[at]! : 0)))
}

function fleet(count: number, options: Options): Promise<Compressor[]> {
  return createFleet(SHAPES, count, { ...ALL, rank: 2, ...options })
}

/** Takes a step of all workers, with new gradients each time. @returns the means of its rounds */
async function step(workers: readonly Compressor[], t: number): Promise<Uint8Array[]> {
  const gradients = workers.map((_, w) => gradientsOf(SHAPES, 100 * t + w))
  return (await stepTogether(workers, gradients)).means
}

/** The queries of all matrices, column after column. */
async function queryOf(worker: Compressor): Promise<Float32Array> {
  const { tensors } = readState(await worker.save())
  return Float32Array.from([0, 2].flatMap((i) => [...tensors.get(`q/${i}`)!.data]))
}

/** Draws numbers that encode their purpose, and lists the draws. */
function watched() {
  const drawn: (readonly number[])[] = []
  const random: Random = (use, parameter, column, step, length) => {
    drawn.push([use, parameter, column, step])
    return columnFor(parameter, column, step, length)
  }
  return { random, drawn }
}

function columnFor(parameter: number, column: number, step: number, length: number): Float32Array {
  return uniform(length, 1 + column + 10 * parameter + 100 * step)
}

/** The draws of one worker for a step: two columns of either matrix. */
function draws(step: number): number[][] {
  return [0, 2].flatMap((i) => [0, 1].map((column) => [0, i, column, step]))
}

function columnsFor(step: number): number[] {
  return draws(step).flatMap(([, i, column]) => [
    ...columnFor(i!, column!, step, SHAPES[i!]!.slice(1)[0]!),
  ])
}
