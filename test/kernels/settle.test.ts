import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { everywhere, poison, reconstruct, residual, run } from '../support/backends.ts'
import { same } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'
import { RANKS, shapes } from '../support/shapes.ts'

for (const backend of everywhere) {
  const test = suite(`settle on ${backend.name}`)

  test('writes the update from the mean, and keeps the residual from the own factor', async () => {
    const m = Float32Array.of(1, 2, 3, 4)
    const [p, own, mean] = [
      [1, 2],
      [1, 1],
      [2, 3],
    ].map((column) => Float32Array.from(column))
    const dims = { rows: 2, cols: 2, rank: 1 }
    const [y, rest] = await run(
      backend,
      [poison(4), m, p!, own!, mean!],
      2,
      0,
      ([y, m, p, own, mean]) => backend.settle(y!, m!, p!, own!, mean!, dims),
    )
    assert.equal(y, Float32Array.of(2, 3, 4, 6))
    assert.equal(rest, Float32Array.of(0, 1, 1, 2))
  })

  for (const rank of RANKS) {
    test(`is reconstruct and residual, bit for bit: rank ${rank}`, async () => {
      for (const [i, dims] of shapes(rank, backend.name).entries()) {
        const { rows, cols } = dims
        const m = gaussian(rows * cols, 1)
        const p = gaussian(rows * rank, 2)
        const own = gaussian(cols * rank, 3)
        const mean = gaussian(cols * rank, 4)
        const options = i % 2 ? { y: gaussian(rows * cols, 5), scale: Math.fround(-0.1) } : {}
        const before = options.y ?? poison(rows * cols)
        const arrays = [before, m, p, own, mean]
        const [y, rest] = await run(backend, arrays, 2, i % 4, ([y, m, p, own, mean]) =>
          backend.settle(y!, m!, p!, own!, mean!, dims, options.scale, options.y !== undefined),
        )
        same(y!, await reconstruct(backend, p, mean, dims, options))
        same(rest!, await residual(backend, m, p, own, dims))
      }
    })
  }

  test.run()
}
