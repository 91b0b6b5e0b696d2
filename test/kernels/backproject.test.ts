import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { backproject, everywhere, reference } from '../support/backends.ts'
import { gamma, same, within } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'
import { integers, magnitudes, RANKS, shapes } from '../support/shapes.ts'

for (const backend of everywhere) {
  const test = suite(`backproject on ${backend.name}`)

  test('multiplies columns by columns', async () => {
    const m = Float32Array.of(1, 2, 3, 4, 5, 6) // [[1, 2, 3], [4, 5, 6]]
    const p = Float32Array.of(1, -1) // one column
    const q = await backproject(backend, m, p, { rows: 2, cols: 3, rank: 1 })
    assert.equal(q, Float32Array.of(-3, -3, -3))
  })

  for (const rank of RANKS) {
    test(`is exact for small integers: rank ${rank}`, async () => {
      for (const [i, dims] of shapes(rank, backend.name).entries()) {
        const m = integers(dims.rows * dims.cols, 1)
        const p = integers(dims.rows * rank, 2)
        const got = await backproject(backend, m, p, dims, i % 4)
        const want = await backproject(reference, m, p, dims)
        within(got, want, () => 0)
      }
    })

    test(`agrees with the reference: rank ${rank}`, async () => {
      for (const [i, dims] of shapes(rank, backend.name).entries()) {
        const m = gaussian(dims.rows * dims.cols, 1)
        const p = gaussian(dims.rows * rank, 2)
        const got = await backproject(backend, m, p, dims, i % 4)
        const want = await backproject(reference, m, p, dims)
        const size = await backproject(reference, magnitudes(m), magnitudes(p), dims)
        // + 1: the reference's own rounding; + 1: that of the bound.
        within(got, want, (i) => gamma(dims.rows + 2) * size[i]!)
      }
    })
  }

  test('has the same bits at every alignment, and whatever the rank beside it', async () => {
    if (!backend.exact) return // see docs/design.md
    const dims = { rows: 131, cols: 7, rank: 7 }
    const m = gaussian(dims.rows * dims.cols, 3)
    const p = gaussian(dims.rows * dims.rank, 4)
    const want = await backproject(backend, m, p, dims)
    for (const offset of [1, 2, 3]) same(await backproject(backend, m, p, dims, offset), want)
    for (let k = 0; k < dims.rank; k++) {
      const column = p.subarray(k * dims.rows, (k + 1) * dims.rows)
      const got = await backproject(backend, m, column, { ...dims, rank: 1 })
      same(got, want.subarray(k * dims.cols, (k + 1) * dims.cols))
    }
  })

  test.run()
}
