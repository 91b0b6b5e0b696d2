import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { everywhere, reconstruct, reference, residual } from '../support/backends.ts'
import { gamma, same, within } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'
import { integers, magnitudes, RANKS, shapes } from '../support/shapes.ts'

for (const backend of everywhere) {
  const test = suite(`residual on ${backend.name}`)

  test('takes the product of the factors away', async () => {
    const m = Float32Array.of(3, 4, 5, 6, 8, 11)
    const dims = { rows: 2, cols: 3, rank: 1 }
    const got = await residual(backend, m, Float32Array.of(1, 2), Float32Array.of(3, 4, 5), dims)
    assert.equal(got, Float32Array.of(0, 0, 0, 0, 0, 1))
  })

  for (const rank of RANKS) {
    test(`is exact for small integers: rank ${rank}`, async () => {
      for (const [i, dims] of shapes(rank, backend.name).entries()) {
        const m = integers(dims.rows * dims.cols, 1)
        const p = integers(dims.rows * rank, 2)
        const q = integers(dims.cols * rank, 3)
        const got = await residual(backend, m, p, q, dims, i % 4)
        within(got, await residual(reference, m, p, q, dims), () => 0)
      }
    })

    test(`agrees with the reference, and with reconstruct to the bit: rank ${rank}`, async () => {
      for (const [i, dims] of shapes(rank, backend.name).entries()) {
        const m = gaussian(dims.rows * dims.cols, 1)
        const p = gaussian(dims.rows * rank, 2)
        const q = gaussian(dims.cols * rank, 3)
        const got = await residual(backend, m, p, q, dims, i % 4)
        const want = await residual(reference, m, p, q, dims)
        const size = await reconstruct(reference, magnitudes(p), magnitudes(q), dims, {
          y: magnitudes(m),
        })
        // + 1: the difference; + 2: the rounding of the reference, and of the bound.
        within(got, want, (i) => gamma(rank + 3) * size[i]!)
        if (!backend.exact) continue
        const update = await reconstruct(backend, p, q, dims)
        same(
          got,
          m.map((value, i) => value - update[i]!),
        )
      }
    })
  }

  test.run()
}
