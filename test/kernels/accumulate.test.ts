import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { backends, run } from '../support/backends.ts'
import { same } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 15, 63, 64, 65, 127]

for (const backend of backends) {
  const test = suite(`accumulate on ${backend.name}`)

  async function accumulate(
    y: Float32Array,
    x: Float32Array,
    a: number,
    offset: number,
  ): Promise<Float32Array> {
    const [got] = await run(backend, [y, x], 1, offset, ([y, x]) => backend.accumulate(y!, x!, a))
    return got!
  }

  test('adds a multiple, exactly for small integers', async () => {
    const [y, x] = [Float32Array.of(1, 2, 3, 4, 5), Float32Array.of(5, 4, 3, 2, 1)]
    assert.equal(await accumulate(y, x, -2, 0), Float32Array.of(-9, -6, -3, 0, 3))
  })

  test('rounds once where the factor is a power of two', async () => {
    for (const n of LENGTHS) {
      for (const a of [1, -1, 0.5]) {
        const [y, x] = [gaussian(n, 1), gaussian(n, 2)]
        const want = y.map((value, i) => value + a * x[i]!)
        for (const offset of [0, 1, 2, 3]) same(await accumulate(y, x, a, offset), want)
      }
    }
  })

  test.run()
}
