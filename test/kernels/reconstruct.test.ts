import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { everywhere, reconstruct, reference } from '../support/backends.ts'
import { gamma, same, within } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'
import { integers, magnitudes, RANKS, shapes } from '../support/shapes.ts'

for (const backend of everywhere) {
  const test = suite(`reconstruct on ${backend.name}`)

  test('multiplies the factors', async () => {
    const p = Float32Array.of(1, 2) // one column
    const q = Float32Array.of(3, 4, 5) // one column
    const dims = { rows: 2, cols: 3, rank: 1 }
    assert.equal(await reconstruct(backend, p, q, dims), Float32Array.of(3, 4, 5, 6, 8, 10))
    const y = Float32Array.of(1, 1, 1, 1, 1, 1)
    const got = await reconstruct(backend, p, q, dims, { y, scale: -2 })
    assert.equal(got, Float32Array.of(-5, -7, -9, -11, -15, -19))
  })

  for (const rank of RANKS) {
    test(`is exact for small integers: rank ${rank}`, async () => {
      for (const [i, dims] of shapes(rank, backend.name).entries()) {
        const p = integers(dims.rows * rank, 1)
        const q = integers(dims.cols * rank, 2)
        const y = integers(dims.rows * dims.cols, 3)
        for (const options of [{}, { scale: 3 }, { y }, { y, scale: -0.5 }]) {
          const got = await reconstruct(backend, p, q, dims, { ...options, offset: i % 4 })
          const want = await reconstruct(reference, p, q, dims, options)
          within(got, want, () => 0)
        }
      }
    })

    test(`agrees with the reference: rank ${rank}`, async () => {
      const scale = Math.fround(0.3)
      for (const [i, dims] of shapes(rank, backend.name).entries()) {
        const p = gaussian(dims.rows * rank, 1)
        const q = gaussian(dims.cols * rank, 2)
        const y = gaussian(dims.rows * dims.cols, 3)
        const got = await reconstruct(backend, p, q, dims, { y, scale, offset: i % 4 })
        const want = await reconstruct(reference, p, q, dims, { y, scale })
        const size = await reconstruct(reference, magnitudes(p), magnitudes(q), dims, {
          y: magnitudes(y),
          scale,
        })
        // + 2: times scale, plus y; + 2: the rounding of the reference, and of the bound.
        within(got, want, (i) => gamma(rank + 4) * size[i]!)
      }
    })

    test(`has the bits that workers agree on: rank ${rank}`, async () => {
      if (!backend.exact) return
      const dims = { rows: 6, cols: 21, rank }
      const { rows, cols } = dims
      const p = gaussian(rows * rank, 1)
      const q = gaussian(cols * rank, 2)
      const y = gaussian(rows * cols, 3)
      const scale = Math.fround(0.3)
      const want = y.map((value, at) => {
        const [i, j] = [Math.floor(at / cols), at % cols]
        let sum = Math.fround(p[i]! * q[j]!)
        for (let k = 1; k < rank; k++) {
          sum = Math.fround(sum + Math.fround(p[k * rows + i]! * q[k * cols + j]!))
        }
        return value + Math.fround(scale * sum)
      })
      for (const offset of [0, 1, 2, 3]) {
        same(await reconstruct(backend, p, q, dims, { y, scale, offset }), want)
      }
    })
  }

  test('does not read what it overwrites', async () => {
    const got = await reconstruct(backend, gaussian(5, 1), gaussian(13, 2), {
      rows: 5,
      cols: 13,
      rank: 1,
    })
    assert.ok(got.every(Number.isFinite))
  })

  test.run()
}
