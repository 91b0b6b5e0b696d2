// `method: dion()`: the recursion, its bases, and its descent.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { aggregate, type Compressor, createCompressor, FrameError, plan } from '../../src/index.ts'
import { createWasmKernels } from '../../src/kernels.ts'
import { dion } from '../../src/methods.ts'
import { sameBytes, sameFloats, within } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { createFleet, exchange, residualsOf, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { norm } from '../support/norms.ts'
import { gradientsOf, uniform } from '../support/numbers.ts'
import { readState, writeState } from '../support/safetensors.ts'

const SHAPES = [[12, 7], [5, 9], [6]]
const RANK = 3
const MOMENTUM = 0.9

const kernels = await createWasmKernels()
const test = suite('dion')

test('the recursion, in float64, of three workers', async () => {
  const workers = await fleet(3)
  const length = (i: number) => SHAPES[i]!.reduce((a, b) => a * b, 1)
  const momenta = workers.map(() => SHAPES.map((_, i) => new Float64Array(length(i))))
  const queries = (await queriesOf(workers[0]!)).map((q) => Float64Array.from(q))
  for (let t = 0; t < 6; t++) {
    const gradients = workers.map((_, w) => gradientsOf(SHAPES, 10 * t + w))
    const { updates } = await stepTogether(workers, gradients)
    const kept = await Promise.all(workers.map(residualsOf))
    for (const [w, update] of updates.entries()) {
      for (const [i, one] of update.entries()) sameFloats(one, updates[0]![i]!, `worker ${w}`)
    }
    for (const i of [0, 1]) {
      const [rows, cols] = SHAPES[i] as [number, number]
      const ms = momenta.map((m) => m[i]!)
      for (const [w, m] of ms.entries()) {
        for (const [j, g] of gradients[w]![i]!.entries()) m[j] = m[j]! + g
      }
      const { update, size } = reference(ms, rows, cols, queries[i]!)
      // M has entries around 1, and rounding of float32 grows with the steps.
      within(updates[0]![i]!, update, () => 1e-5, `step ${t}, parameter ${i}: update`)
      for (const [w, m] of ms.entries()) {
        within(kept[w]![i]!, m, () => 1e-5 * size, `step ${t}, parameter ${i}: momentum`)
      }
      const query = (await queriesOf(workers[2]!))[i]!
      within(query, queries[i]!, () => 1e-5, `step ${t}, parameter ${i}: query`)
    }
    const raw = gradients[0]![2]!.map((_, j) => gradients.reduce((s, g) => s + g[2]![j]! / 3, 0))
    within(updates[0]![2]!, raw, () => 1e-6, `step ${t}: the mean of a raw parameter`)
    assert.ok(
      kept.every((e) => e[2]!.every((x) => x === 0)),
      'no momentum of it',
    )
  }
})

test('columns are orthonormal on the left, of length 1 on the right', async () => {
  const workers = await fleet(2)
  for (let t = 0; t < 3; t++) {
    const scale = 10 ** (12 * t - 12)
    const gradients = workers.map((_, w) => gradientsOf(SHAPES, 10 * t + w, scale))
    const { means, updates } = await stepTogether(workers, gradients)
    const [rows, cols] = SHAPES[0] as [number, number]
    const p = open(means[0]!).floats.slice(0, RANK * rows)
    await kernels.orthonormalize(p, rows, RANK)
    const q = (await queriesOf(workers[0]!))[0]!
    for (let k = 0; k < RANK; k++) {
      assert.ok(Math.abs(norm(q.subarray(k * cols, (k + 1) * cols)) - 1) <= 1e-7)
      for (let l = 0; l <= k; l++) {
        const product = dot(p.subarray(k * rows, (k + 1) * rows), p.subarray(l * rows))
        assert.ok(Math.abs(product - (k === l ? 1 : 0)) <= 5e-7, `P̂ᵀP̂[${k}, ${l}] = ${product}`)
      }
    }
    const want = updates[0]![0]!.map((_, at) => {
      const [i, j] = [Math.floor(at / cols), at % cols]
      let sum = 0
      for (let k = 0; k < RANK; k++) sum += p[k * rows + i]! * q[k * cols + j]!
      return sum
    })
    within(updates[0]![0]!, want, () => 1e-6, `step ${t}: P̂·Qᵀ`)
    const reported = workers[0]!.updateNorm!
    const whole = Math.hypot(...updates[0]!.map(norm))
    assert.ok(Math.abs(reported - whole) <= 1e-6 * whole, `updateNorm: ${reported} for ${whole}`)
  }
})

test('zeros: no update, and the query stays as it was', async () => {
  const workers = await fleet(2)
  await stepTogether(workers, [gradientsOf(SHAPES, 1), gradientsOf(SHAPES, 2)])
  const [first] = await fleet(1)
  for (const [who, gradients] of [
    [[first!], [SHAPES.map((shape) => new Float32Array(shape.reduce((a, b) => a * b, 1)))]],
    [workers, [null, null]],
  ] as const) {
    const before = await queriesOf(who[0]!)
    const frame = await who[0]!.compress(gradients[0]!)
    const next = await who[0]!.receive(aggregate([frame]))
    assert.is(await who[0]!.receive(aggregate([next!])), null)
    const update = SHAPES.map((shape) =>
      uniform(
        shape.reduce((a, b) => a * b, 1),
        1,
      ),
    )
    await who[0]!.decompress(update)
    assert.ok(update.every((x) => x.every((value) => value === 0)))
    assert.is(who[0]!.updateNorm, 0)
    for (const [i, q] of (await queriesOf(who[0]!)).entries()) sameFloats(q, before[i]!, `q/${i}`)
  }
  await stepTogether([first!], [gradientsOf(SHAPES, 3)])
  assert.ok(
    Math.abs(first!.updateNorm! ** 2 - 2 * RANK - norm(gradientsOf(SHAPES, 3)[2]!) ** 2) < 1e-5,
  )
})

test('a worker that is absent takes the update, and keeps its momentum', async () => {
  const workers = await fleet(2)
  await stepTogether(workers, [gradientsOf(SHAPES, 1), gradientsOf(SHAPES, 2)])
  const before = await residualsOf(workers[1]!)
  const { updates, outcomes } = await stepTogether(workers, [gradientsOf(SHAPES, 3), null])
  assert.equal(outcomes[1], { counted: false, senders: [0], weight: 1, refused: [] })
  for (const [i, update] of updates[1]!.entries()) sameFloats(update, updates[0]![i]!, 'update')
  for (const [i, m] of (await residualsOf(workers[1]!)).entries()) sameFloats(m, before[i]!, 'M')
})

test('a step that is aborted leaves its gradient in the momentum, and the query alone', async () => {
  const [worker] = await fleet(1)
  await exchange([worker!], [gradientsOf(SHAPES, 1)])
  await worker!.decompress(null)
  const [query, before] = [await queriesOf(worker!), await residualsOf(worker!)]
  const gradients = gradientsOf(SHAPES, 2)
  await worker!.receive(aggregate([await worker!.compress(gradients)]))
  await worker!.abort()
  for (const [i, q] of (await queriesOf(worker!)).entries()) sameFloats(q, query[i]!, `q/${i}`)
  for (const [i, m] of (await residualsOf(worker!)).entries()) {
    sameFloats(
      m,
      before[i]!.map((x, j) => x + gradients[i]![j]!),
      'M',
    )
  }
})

test('matrix least squares: 400 updates of rank 2 take the loss of a 12 × 16 to a hundredth', async () => {
  const [rows, cols, samples] = [12, 16, 40]
  const target = uniform(rows * cols, 1)
  const inputs = [0, 1].map((w) => uniform(samples * cols, 2 + w))
  const x = new Float32Array(rows * cols)
  const workers = await createFleet([[rows, cols]], 2, {
    method: dion({ momentum: 0.95 }),
    rank: 2,
  })
  /** ½·mean ‖(X − target)·a‖² over a worker's samples, and its gradient */
  const lossOf = (a: Float32Array) => {
    const gradient = new Float32Array(rows * cols)
    let loss = 0
    for (let s = 0; s < samples; s++) {
      const sample = a.subarray(s * cols, (s + 1) * cols)
      for (let i = 0; i < rows; i++) {
        let off = 0
        for (let j = 0; j < cols; j++)
          off += (x[i * cols + j]! - target[i * cols + j]!) * sample[j]!
        loss += off ** 2 / 2 / samples
        for (let j = 0; j < cols; j++) gradient[i * cols + j]! += (off * sample[j]!) / samples
      }
    }
    return { loss, gradient }
  }
  const mean = () => inputs.reduce((sum, a) => sum + lossOf(a).loss / 2, 0)
  const first = mean()
  const steps = 400
  for (let t = 0; t < steps; t++) {
    const { updates } = await stepTogether(
      workers,
      inputs.map((a) => [lossOf(a).gradient]),
    )
    const rate = 0.2 * (1 - t / steps) * Math.sqrt(rows / cols)
    for (let j = 0; j < x.length; j++) x[j]! -= rate * updates[0]![0]![j]!
  }
  assert.ok(mean() < first / 100, `from ${first} to ${mean()}`)
})

test('every matrix gets it, whatever its size; workers must agree on the momentum', async () => {
  const ranks = plan([[2, 3], [1, 9], [9], [64, 64]], { method: dion(), rank: 4 }).parameters
  assert.equal(
    ranks.map(({ rank }) => rank),
    [2, 0, 0, 4],
  )
  const make = async (sender: number, options?: { momentum: number }) =>
    (await createCompressor([[6, 8]], { method: dion(options), sender })).compressSync(
      gradientsOf([[6, 8]], sender),
    )
  assert.is(open(aggregate([await make(0), await make(1, { momentum: 0.95 })])).weight, 2)
  const frames = [await make(0), await make(1, { momentum: 0.9 })]
  assert.instance(await errorOf(() => aggregate(frames)), FrameError)
})

test('a query so large that no frame could carry its products is refused', async () => {
  const [worker] = await fleet(1)
  const before = await worker!.save()
  const { tensors, metadata } = readState(before)
  const query = tensors.get('q/0')!
  query.data[3] = -(2 ** 90)
  const state = writeState(Object.fromEntries(tensors), metadata)
  const method = dion({ momentum: MOMENTUM })
  for (const call of [
    () => worker!.join(state),
    () => createCompressor(SHAPES, { method, rank: RANK, restore: state }),
  ]) {
    assert.match((await errorOf(call)).message, /"checkpoint": q: expected numbers below 2³² only/)
  }
  sameBytes(await worker!.save(), before, 'state')
})

test('what is no momentum is refused, and options that make no sense here', async () => {
  for (const momentum of [1, -0.1, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => dion({ momentum }), /^"momentum": expected from 0, below 1, got /)
  }
  const error = await errorOf(() => dion({ momentum: '0.9' as never }))
  assert.instance(error, TypeError)
  for (const option of [{ warmStart: false }, { refresh: 3 }, { errorFeedback: 'none' }] as const) {
    assert.throws(() => plan([[6, 8]], { method: dion(), ...option }), /dion has no use for it/)
  }
})

test.run()

function fleet(count: number): Promise<Compressor[]> {
  return createFleet(SHAPES, count, { method: dion({ momentum: MOMENTUM }), rank: RANK })
}

/** q/<i>, a row per column */
async function queriesOf(worker: Compressor): Promise<Float32Array[]> {
  const { tensors } = readState(await worker.save())
  return [0, 1].map((i) => tensors.get(`q/${i}`)!.data)
}

/**
 * One step in float64. Changes momenta and query; returns the update and the largest entry of M.
 */
function reference(ms: readonly Float64Array[], rows: number, cols: number, query: Float64Array) {
  const size = ms.reduce((most, m) => Math.max(most, ...m.map(Math.abs)), 0)
  const mean = ms[0]!.map((_, j) => ms.reduce((sum, m) => sum + m[j]!, 0) / ms.length)
  const p: Float64Array[] = []
  for (let k = 0; k < RANK; k++) {
    const column = Float64Array.from({ length: rows }, (_, i) =>
      dot(mean.subarray(i * cols, (i + 1) * cols), query.subarray(k * cols)),
    )
    for (const earlier of [...p, ...p]) {
      const part = dot(column, earlier)
      for (const [i, x] of earlier.entries()) column[i] = column[i]! - part * x
    }
    const length = Math.sqrt(dot(column, column))
    p.push(column.map((x) => x / length))
  }
  const update = new Float64Array(rows * cols)
  for (const [k, column] of p.entries()) {
    const r = Float64Array.from({ length: cols }, (_, j) =>
      column.reduce((sum, x, i) => sum + x * mean[i * cols + j]!, 0),
    )
    const length = Math.sqrt(dot(r, r))
    query.set(
      r.map((x) => x / length),
      k * cols,
    )
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < cols; j++) {
        update[i * cols + j]! += (column[i]! * r[j]!) / length
        for (const m of ms) m[i * cols + j]! -= (1 - MOMENTUM) * column[i]! * r[j]!
      }
    }
  }
  return { update, size }
}

/** x · y over the length of x. */
function dot(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!
  return sum
}
