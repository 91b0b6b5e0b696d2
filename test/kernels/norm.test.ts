import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { backends, run } from '../support/backends.ts'
import { gaussian } from '../support/gaussian.ts'

const LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 1000]

for (const backend of backends) {
  const test = suite(`norm on ${backend.name}`)

  async function norm(x: Float32Array, offset = 0): Promise<number> {
    let sum = Number.NaN
    await run(backend, [x], 0, offset, async ([x]) => {
      sum = await backend.norm(x!)
    })
    return sum
  }

  test('sums squares, exactly for integers', async () => {
    for (const n of LENGTHS) {
      const x = Float32Array.from({ length: n }, (_, i) => i - 3)
      let want = 0
      for (const value of x) want += value * value
      for (const offset of [0, 1, 2, 3]) assert.is(await norm(x, offset), want)
    }
  })

  test('sums in float64', async () => {
    for (const n of LENGTHS) {
      const x = gaussian(n, n)
      let want = 0
      for (const value of x) want += value ** 2
      // Squares are exact; n additions on either side.
      assert.ok(Math.abs((await norm(x)) - want) <= 2 * n * 2 ** -53 * want)
    }
  })

  test('neither overflows nor vanishes', async () => {
    assert.is(await norm(new Float32Array(5).fill(2 ** 127)), 5 * 2 ** 254)
    assert.is(await norm(new Float32Array(5).fill(2 ** -149)), 5 * 2 ** -298)
  })

  test('passes on what is not finite', async () => {
    for (const at of [0, 3, 4, 6]) {
      const x = gaussian(7, 1)
      x[at] = Number.NaN
      assert.ok(Number.isNaN(await norm(x)))
      x[at] = Number.NEGATIVE_INFINITY
      assert.is(await norm(x), Number.POSITIVE_INFINITY)
    }
  })

  test.run()
}
