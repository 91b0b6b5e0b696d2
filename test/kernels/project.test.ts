import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { everywhere, project, reference } from '../support/backends.ts'
import { gamma, same, within } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'
import { integers, magnitudes, RANKS, shapes } from '../support/shapes.ts'

for (const backend of everywhere) {
  const test = suite(`project on ${backend.name}`)

  test('multiplies rows by columns', async () => {
    const m = Float32Array.of(1, 2, 3, 4, 5, 6) // [[1, 2, 3], [4, 5, 6]]
    const q = Float32Array.of(1, 0, -1) // one column
    const p = await project(backend, m, q, { rows: 2, cols: 3, rank: 1 })
    assert.equal(p, Float32Array.of(-2, -2))
  })

  for (const rank of RANKS) {
    test(`is exact for small integers: rank ${rank}`, async () => {
      for (const [i, dims] of shapes(rank, backend.name).entries()) {
        const m = integers(dims.rows * dims.cols, 1)
        const q = integers(dims.cols * rank, 2)
        const got = await project(backend, m, q, dims, i % 4)
        const want = await project(reference, m, q, dims)
        within(got, want, () => 0)
      }
    })

    test(`agrees with the reference: rank ${rank}`, async () => {
      for (const [i, dims] of shapes(rank, backend.name).entries()) {
        const m = gaussian(dims.rows * dims.cols, 1)
        const q = gaussian(dims.cols * rank, 2)
        const got = await project(backend, m, q, dims, i % 4)
        const want = await project(reference, m, q, dims)
        const size = await project(reference, magnitudes(m), magnitudes(q), dims) // Σ|m||q|
        // + 1: the reference's own rounding; + 1: that of the bound.
        within(got, want, (i) => gamma(dims.cols + 2) * size[i]!)
      }
    })
  }

  test('has the same bits at every alignment, and whatever the rank beside it', async () => {
    if (!backend.exact) return // see docs/design.md
    const dims = { rows: 7, cols: 131, rank: 7 }
    const m = gaussian(dims.rows * dims.cols, 3)
    const q = gaussian(dims.cols * dims.rank, 4)
    const want = await project(backend, m, q, dims)
    for (const offset of [1, 2, 3]) same(await project(backend, m, q, dims, offset), want)
    for (let k = 0; k < dims.rank; k++) {
      const column = q.subarray(k * dims.cols, (k + 1) * dims.cols)
      const got = await project(backend, m, column, { ...dims, rank: 1 })
      same(got, want.subarray(k * dims.rows, (k + 1) * dims.rows))
    }
  })

  test.run()
}
