import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Dims } from '../../src/backend.ts'
import { type Bench, everywhere, poison, project, reference, run } from '../support/backends.ts'
import { gamma, same, UNIT, within } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'
import { integers, magnitudes, RANKS, shapes } from '../support/shapes.ts'

interface Outcome {
  p: Float32Array
  m: Float32Array
  done: boolean
}

async function accumulateProject(
  on: Bench<'accumulateProject'>,
  m: Float32Array,
  g: Float32Array,
  q: Float32Array,
  dims: Dims,
  offset = 0,
  before = poison(dims.rows * dims.rank),
): Promise<Outcome> {
  let done = false
  const [p, sum] = await run(on, [before, m, g, q], 2, offset, async ([p, m, g, q]) => {
    done = await on.accumulateProject(p!, m!, g!, q!, dims)
  })
  return { p: p!, m: sum!, done }
}

for (const backend of everywhere) {
  const test = suite(`accumulateProject on ${backend.name}`)

  test('adds, and projects the sum', async () => {
    const m = Float32Array.of(1, 2, 3, 4, 5, 6)
    const g = Float32Array.of(10, 0, 0, 0, 0, 1)
    const q = Float32Array.of(1, 0, -1)
    const got = await accumulateProject(backend, m, g, q, { rows: 2, cols: 3, rank: 1 })
    assert.ok(got.done)
    assert.equal(got.m, Float32Array.of(11, 2, 3, 4, 5, 7))
    assert.equal(got.p, Float32Array.of(8, -3))
  })

  for (const rank of RANKS) {
    test(`is exact for small integers: rank ${rank}`, async () => {
      for (const [i, dims] of shapes(rank, backend.name).entries()) {
        const m = integers(dims.rows * dims.cols, 1)
        const g = integers(dims.rows * dims.cols, 2)
        const q = integers(dims.cols * rank, 3)
        const got = await accumulateProject(backend, m, g, q, dims, i % 4)
        const sum = m.map((value, i) => value + g[i]!)
        assert.ok(got.done)
        within(got.m, sum, () => 0)
        within(got.p, await project(reference, sum, q, dims), () => 0)
      }
    })

    test(`agrees with the reference: rank ${rank}`, async () => {
      for (const [i, dims] of shapes(rank, backend.name).entries()) {
        const m = gaussian(dims.rows * dims.cols, 1)
        const g = gaussian(dims.rows * dims.cols, 2)
        const q = gaussian(dims.cols * rank, 3)
        const got = await accumulateProject(backend, m, g, q, dims, i % 4)
        const want = { p: poison(dims.rows * rank), m: m.slice() }
        await reference.accumulateProject(want.p, want.m, g, q, dims)
        const size = await project(reference, magnitudes(want.m), magnitudes(q), dims)
        assert.ok(got.done)
        same(got.m, want.m) // one rounding of the same sum
        within(got.p, want.p, (i) => gamma(dims.cols + 2) * size[i]!)
      }
    })
  }

  test('projects with the bits of project', async () => {
    const dims = { rows: 6, cols: 2055, rank: 7 }
    const m = gaussian(dims.rows * dims.cols, 1)
    const g = gaussian(dims.rows * dims.cols, 2)
    const q = gaussian(dims.cols * dims.rank, 3)
    const got = await accumulateProject(backend, m, g, q, dims, 1)
    same(got.p, await project(backend, got.m, q, dims, 2))
  })

  const BAD = [
    ['NaN', 0, Number.NaN],
    ['Infinity', 0, Number.POSITIVE_INFINITY],
    ['−Infinity', 0, Number.NEGATIVE_INFINITY],
    ['a sum that overflows', 3e38, 3e38],
    ['a negative sum that overflows', -3e38, -3e38],
    ['2¹⁰⁰', 1, 2 ** 100],
    ['−2¹⁰⁰, though the sum is small', 2 ** 100, -(2 ** 100)],
  ] as const

  for (const [name, old, value] of BAD) {
    test(`takes the gradient back where it finds ${name}`, async () => {
      for (const dims of [
        { rows: 1, cols: 1, rank: 1 },
        { rows: 3, cols: 5, rank: 2 },
        { rows: 7, cols: 65, rank: 4 },
        { rows: 9, cols: 2051, rank: 1 },
      ]) {
        const n = dims.rows * dims.cols
        for (const at of new Set([0, 1, n >> 1, n - dims.cols, n - 2, n - 1])) {
          if (at < 0 || at >= n) continue
          const m = gaussian(n, 1)
          const g = gaussian(n, 2)
          const q = gaussian(dims.cols * dims.rank, 3)
          m[at] = old
          g[at] = value
          const before = gaussian(dims.rows * dims.rank, 4)
          const got = await accumulateProject(backend, m, g, q, dims, at % 4, before)
          assert.is(got.done, false)
          same(got.p, before)
          if (backend.name !== 'webgpu') {
            same(got.m, m)
            continue
          }
          // (m + g) − g rounds twice: the sum, and the difference, which is about m.
          const sum = m.map((value, i) => Math.abs(value + g[i]!))
          within(got.m, m, (i) =>
            i === at ? 0 : UNIT * (sum[i]! + Math.abs(m[i]!)) * (1 + 2 * UNIT),
          )
        }
      }
    })
  }

  test('leaves a matrix of several parts as it was, whatever the size of the gradient', async () => {
    if (backend.name === 'webgpu') return
    const dims = { rows: 130, cols: 1000, rank: 2 } // 32 rows a part
    const n = dims.rows * dims.cols
    const before = gaussian(dims.rows * dims.rank, 4)
    const q = gaussian(dims.cols * dims.rank, 3)
    for (const [inM, inG] of [
      [0, 1e20],
      [1, 1],
      [1e-3, 3e4],
      [1e-12, 1e29],
      [2 ** -140, 1],
    ] as const) {
      const m = gaussian(n, 1).map((value) => value * inM)
      for (const at of [0, n >> 1, n - 1]) {
        const g = gaussian(n, 2).map((value) => value * inG)
        g[at] = Number.POSITIVE_INFINITY
        const got = await accumulateProject(backend, m, g, q, dims, at % 4, before)
        assert.is(got.done, false)
        same(got.p, before)
        const most = m.reduce((a, x) => Math.max(a, Math.abs(x)), 0)
        within(got.m, m, () => 1e-6 * most)
      }
    }
  })

  test('finds what is not finite already in the matrix', async () => {
    const m = Float32Array.of(1, Number.NaN, 3)
    const dims = { rows: 1, cols: 3, rank: 1 }
    const got = await accumulateProject(backend, m, gaussian(3, 1), gaussian(3, 2), dims)
    assert.is(got.done, false)
    same(got.m, m)
  })

  test('takes what is just below 2¹⁰⁰, and denormals; refuses 2¹⁰⁰', async () => {
    const most = 2 ** 100 * (1 - 2 ** -24)
    for (const limit of [2 ** 100, -(2 ** 100)]) {
      const dims = { rows: 1, cols: 1, rank: 1 }
      const m = Float32Array.of(limit)
      const zero = new Float32Array(1)
      assert.is((await accumulateProject(backend, m, zero, zero, dims)).done, false)
    }
    // GPUs may treat subnormal numbers as zero.
    const least = backend.name === 'webgpu' ? 2 ** -126 : 1e-45
    const m = Float32Array.of(most, -most, least, 0, -least)
    const g = Float32Array.of(0, 0, least, -least, least)
    const dims = { rows: 1, cols: 5, rank: 1 }
    const got = await accumulateProject(backend, m, g, new Float32Array(5), dims)
    assert.ok(got.done)
    within(
      got.m,
      m.map((value, i) => value + g[i]!),
      () => 0,
    )
  })

  test.run()
}
