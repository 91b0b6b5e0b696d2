// Factors when ranks change: the columns that stay.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { reference } from '../../src/backends/reference.ts'
import { type Compressor, createCompressor, type Options } from '../../src/index.ts'
import { leadingColumns, rayleighRitz } from '../../src/linalg/rayleigh-ritz.ts'
import { sameFloats, UNIT, within } from '../support/close.ts'
import { residualsOf, stepTogether } from '../support/fleet.ts'
import { gaussian } from '../support/gaussian.ts'
import { ALL, norm } from '../support/norms.ts'
import { gradientsOf } from '../support/numbers.ts'
import { readState } from '../support/safetensors.ts'

const LENGTH = 37
const SINGULAR = [5, 3, 2, 1]

const test = suite('leading columns')

test('the best directions of a factor stay, as good as the optimum', () => {
  const q = mixed()
  for (const [kept, optimum] of [25, 34, 38].map((sum, i) => [i + 1, sum] as const)) {
    const best = carriedBy(leadingColumns(q, LENGTH, kept), q)
    assert.ok(Math.abs(best - optimum) <= 1e-5 * optimum, `${kept}: ${best}, not ${optimum}`)
    const first = carriedBy(q.subarray(0, kept * LENGTH), q)
    assert.ok(first < 0.9 * best, `${kept}: the first columns have ${first} of ${best}`)
  }
  within(rayleighRitz(q, LENGTH).values, [25, 9, 4, 1], () => 1e-5, 'eigenvalues')
})

test('where nothing goes, nothing turns', () => {
  const q = mixed()
  assert.is(leadingColumns(q, LENGTH, 4), q)
  assert.is(leadingColumns(q, LENGTH, 0), q)
})

test('dependent columns, zero and very large ones give finite ones', () => {
  const zero = new Float32Array(3 * LENGTH)
  assert.equal(leadingColumns(zero, LENGTH, 2), new Float32Array(2 * LENGTH))
  const largest = new Float32Array(3 * LENGTH).fill((2 - 2 ** -23) * 2 ** 127)
  const one = leadingColumns(largest, LENGTH, 1)
  assert.ok(
    one.every((x) => Math.abs(x) === largest[0]!),
    'longer by √3 than a float32 can be',
  )
})

test('a lower rank keeps what a step carries most of', async () => {
  const worker = await createCompressor([[12, LENGTH]], { ...ALL, rank: 4 })
  const gradient = lowRank()
  for (let t = 0; t < 2; t++) await stepTogether([worker], [[gradient]])
  worker.setRank(2)
  const { updates } = await stepTogether([worker], [[gradient]])
  // Nothing was pending of a matrix of this rank, and two columns of four carry its largest part.
  const got = norm(updates[0]![0]!) ** 2
  assert.ok(Math.abs(got - 34) <= 1e-4 * 34, `${got}, not 34`)
})

test('4 → 1 → 4: nothing is lost, and factors have the same bits on all workers', async () => {
  const shapes = [[12, 37], [9], [20, 16]]
  const workers = await fleet(3, shapes, { ...ALL, rank: 4 })
  const given = shapes.map((shape) => new Float64Array(shape.reduce((a, b) => a * b, 1)))
  const update = given.map((x) => x.slice())
  const weights = [1, 2, 0.5]
  for (let t = 0; t < 9; t++) {
    if (t === 3 || t === 6) for (const worker of workers) worker.setRank(t === 3 ? 1 : 4)
    const gradients = workers.map((_, w) => gradientsOf(shapes, 10 * t + w))
    const { updates } = await stepTogether(workers, gradients, weights)
    for (const [i, sum] of given.entries()) {
      for (let j = 0; j < sum.length; j++) {
        const whole = gradients.reduce((s, own, w) => s + weights[w]! * own[i]![j]!, 0)
        sum[j] = sum[j]! + whole / 3.5
        update[i]![j] = update[i]![j]! + updates[0]![i]![j]!
      }
    }
    const states = await Promise.all(workers.map(async (one) => readState(await one.save())))
    for (const i of [0, 2]) {
      const factor = states[0]!.tensors.get(`q/${i}`)!
      assert.is(factor.shape[0], t < 3 || t >= 6 ? 4 : 1)
      for (const { tensors } of states)
        sameFloats(tensors.get(`q/${i}`)!.data, factor.data, `q/${i}`)
    }
  }
  const residuals = await Promise.all(workers.map(residualsOf))
  for (const [i, sum] of given.entries()) {
    const left = sum.map((_, j) =>
      residuals.reduce((s, own, w) => s + (weights[w]! * own[i]![j]!) / 3.5, 0),
    )
    const got = update[i]!.map((x, j) => x + left[j]!)
    within(got, sum, () => 200 * UNIT * 9, `parameter ${i}`) // nine steps of numbers below 1
  }
})

test("a new rank does not touch the residual, and factors that are 'fixed' do not turn", async () => {
  for (const warmStart of [true, 'fixed'] as const) {
    const worker = await createCompressor([[12, 37]], { ...ALL, rank: 3, warmStart })
    await stepTogether([worker], [gradientsOf([[12, 37]], 1)])
    const [residual] = await residualsOf(worker)
    const before = readState(await worker.save()).tensors.get('q/0')!.data
    worker.setRank(2)
    sameFloats((await residualsOf(worker))[0]!, residual!, 'residual')
    const after = readState(await worker.save()).tensors.get('q/0')!.data
    const first = before.subarray(0, 2 * 37)
    if (warmStart === 'fixed') sameFloats(after, first, 'q/0')
    else assert.not.equal(after, first)
  }
})

test.run()

/** LENGTH × 4 with these singular values, none of whose columns is a singular vector. */
function mixed(): Float32Array {
  const left = gaussian(4 * LENGTH, 1)
  reference.orthonormalize(left, LENGTH, 4)
  const right = gaussian(16, 2)
  reference.orthonormalize(right, 4, 4)
  const q = new Float32Array(4 * LENGTH)
  for (let k = 0; k < 4; k++) {
    for (let l = 0; l < 4; l++) {
      // Smallest singular value first.
      const factor = SINGULAR[3 - l]! * right[4 * l + k]!
      for (let i = 0; i < LENGTH; i++) q[k * LENGTH + i]! += factor * left[l * LENGTH + i]!
    }
  }
  return q
}

/** 12 × LENGTH of rank 4 with these singular values, by row. */
function lowRank(): Float32Array {
  const q = mixed()
  const p = gaussian(4 * 12, 3)
  reference.orthonormalize(p, 12, 4)
  return Float32Array.from({ length: 12 * LENGTH }, (_, at) => {
    const [i, j] = [Math.floor(at / LENGTH), at % LENGTH]
    let sum = 0
    for (let k = 0; k < 4; k++) sum += p[k * 12 + i]! * q[k * LENGTH + j]!
    return sum
  })
}

/** ‖Qᵀ·B‖² with an orthonormal basis B of some columns: the part of P̂·Qᵀ along them. */
function carriedBy(columns: Float32Array, q: Float32Array): number {
  const basis = columns.slice()
  reference.orthonormalize(basis, LENGTH, columns.length / LENGTH)
  let sum = 0
  for (let k = 0; k < basis.length; k += LENGTH) {
    for (let l = 0; l < q.length; l += LENGTH) {
      let part = 0
      for (let i = 0; i < LENGTH; i++) part += basis[k + i]! * q[l + i]!
      sum += part ** 2
    }
  }
  return sum
}

function fleet(count: number, shapes: number[][], options: Options): Promise<Compressor[]> {
  const make = (_: unknown, sender: number) => createCompressor(shapes, { ...options, sender })
  return Promise.all(Array.from({ length: count }, make))
}
