import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { reference } from '../../src/backends/reference.ts'
import { backends, run } from '../support/backends.ts'
import { gamma, within } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'
import { magnitudes } from '../support/shapes.ts'

const LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 127]

for (const backend of backends) {
  const test = suite(`momentum on ${backend.name}`)

  test('descends, exactly for small integers', async () => {
    const [x, m, g] = [Float32Array.of(8, -8), Float32Array.of(2, 4), Float32Array.of(1, 0)]
    // d = g + x/4 = (3, −2); m = m/2 + d = (4, 0); x = x − (d + m)/2
    const [moved, velocity] = await run(backend, [x, m, g], 2, 0, ([x, m, g]) =>
      backend.momentum(x!, m!, g!, 0.5, 0.5, 0.25),
    )
    assert.equal(velocity, Float32Array.of(4, 0))
    assert.equal(moved, Float32Array.of(4.5, -7))
  })

  test('agrees with the reference', async () => {
    const [rate, decay, weight] = [0.1, 0.9, 1e-4].map(Math.fround) as [number, number, number]
    for (const n of LENGTHS) {
      const [x, m, g] = [gaussian(n, 1), gaussian(n, 2), gaussian(n, 3)]
      const want = { x: x.slice(), m: m.slice() }
      await reference.momentum(want.x, want.m, g, rate, decay, weight)
      // The reference on absolute values, with every term added, gives the bound.
      const size = { x: magnitudes(x), m: magnitudes(m) }
      await reference.momentum(size.x, size.m, magnitudes(g), -rate, decay, weight)
      for (const offset of [0, 1, 2, 3]) {
        const [moved, velocity] = await run(backend, [x, m, g], 2, offset, ([x, m, g]) =>
          backend.momentum(x!, m!, g!, rate, decay, weight),
        )
        // d takes two operations, m a third, x three more (and the other branch of the sum at most
        // as many); + 2: the rounding of the reference, and of the bound.
        within(velocity!, want.m, (i) => gamma(3 + 2) * size.m[i]!)
        within(moved!, want.x, (i) => gamma(6 + 2) * size.x[i]!)
      }
    }
  })

  test.run()
}
