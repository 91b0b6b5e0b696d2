import { createHash } from 'node:crypto'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { instantiate, loadModule } from '../../src/backends/wasm/load.ts'
import { quantile } from '../../src/linalg/normal.ts'
import { philox } from '../../src/linalg/philox.ts'
import { backends, poison, run } from '../support/backends.ts'
import { same } from '../support/close.ts'

/**
 * sha256 of 2¹⁶ normals, little-endian float32: seed 1, use 2, parameter 3, column 4, step 5.
 * Python gave the same hash: Philox by its paper, then `statistics.NormalDist().inv_cdf`.
 */
const GOLDEN = 'a6c0c909475c7b9b39cc98584f888d1533d11ed773cc0f5f9aaf0d84f464b09b'

/** Counter, key and words: `kat_vectors` of Random123, philox4x32-10. */
const KNOWN = [
  [
    '00000000 00000000 00000000 00000000',
    '00000000 00000000',
    '6627e8d5 e169c58d bc57ac4c 9b00dbd8',
  ],
  [
    'ffffffff ffffffff ffffffff ffffffff',
    'ffffffff ffffffff',
    '408f276d 41c83b0e a20bc7c6 6d5451fd',
  ],
  [
    '243f6a88 85a308d3 13198a2e 03707344',
    'a4093822 299f31d0',
    'd16cfe09 94fdcceb 5001e420 24126ea1',
  ],
] as const

const words = (hex: string): number[] => hex.split(' ').map((word) => Number.parseInt(word, 16))

const known = suite('philox')

known('gives the published words, in the reference', () => {
  for (const [counter, key, want] of KNOWN) {
    assert.equal(philox(words(counter), words(key)), words(want))
  }
})

known('gives the published words, in wasm', async () => {
  const memory = new WebAssembly.Memory({ initial: 1 })
  const kernels = instantiate(await loadModule(), memory)
  const at = kernels.heapBase.value
  for (const [counter, key, want] of KNOWN) {
    const [c0, c1, c2, c3] = words(counter)
    const [k0, k1] = words(key)
    kernels.philox(at, c0!, c1!, c2!, c3!, k0!, k1!)
    assert.equal([...new Uint32Array(memory.buffer, at, 4)], words(want))
  }
})

known.run()

const inverse = suite('quantile')

/**
 * P(Z < z): the power series about 0 where |z| is small, else the continued fraction of the tail.
 */
function probability(z: number): number {
  const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)
  if (Math.abs(z) > 2) {
    let fraction = Math.abs(z)
    for (let i = 200; i > 0; i--) fraction = Math.abs(z) + i / fraction
    return z < 0 ? density / fraction : 1 - density / fraction
  }
  let term = z
  let sum = z
  for (let i = 3; i < 100; i += 2) {
    term *= (z * z) / i
    sum += term
  }
  return 0.5 + density * sum
}

inverse('inverts the distribution, from one end to the other', () => {
  const ends = [0, 1, 2, 3, 100, 0x13333332, 0x13333333, 0x13333334, 0x7ffffffe, 0x7fffffff]
  const spread = Array.from({ length: 5000 }, (_, i) => i * 429496)
  for (const x of [...ends, ...spread]) {
    const u = (x + 0.5) * 2 ** -32
    const z = quantile(x)
    // A relative error of 1e-16 in z is z² times as large in the tail; the rest allows for this
    // test's own exp and sums.
    assert.ok(Math.abs(probability(z) - u) <= 2e-14 * u, `${x}: ${z}`)
    assert.ok(z < 0)
    assert.ok(Math.abs(quantile(~x >>> 0) + z) <= 2 ** -52 * Math.abs(z), `${x} is not symmetric`)
  }
})

inverse('rises', () => {
  for (let x = 1; x < 2 ** 32; x += 7654321) assert.ok(quantile(x) > quantile(x - 1))
  for (const x of [0x13333333, 0x13333334, 0x80000000, 0xeccccccc, 0xeccccccd]) {
    assert.ok(quantile(x) > quantile(x - 1))
  }
})

inverse.run()

for (const backend of backends) {
  const test = suite(`normal on ${backend.name}`)

  async function normal(
    n: number,
    [seed, use, parameter, column, step]: readonly [number, number, number, number, number],
    offset = 0,
  ): Promise<Float32Array> {
    const [x] = await run(backend, [poison(n)], 1, offset, ([x]) =>
      backend.normal(x!, seed, use, parameter, column, step),
    )
    return x!
  }

  test('depends on every word of counter and key, up to their highest bits', async () => {
    const draws = new Set<string>()
    for (let word = 0; word < 5; word++) {
      for (const value of [0, 1, 0x80000000, 0xffffffff]) {
        const words: [number, number, number, number, number] = [0, 0, 0, 0, 0]
        words[word] = value
        draws.add((await normal(4, words)).join())
      }
    }
    assert.is(draws.size, 16) // five times all zeros, and fifteen more
  })

  test('gives an element that does not depend on how many there are, or where', async () => {
    const want = await normal(257, [1, 2, 3, 4, 5])
    for (const n of [0, 1, 2, 3, 4, 5, 63, 65]) {
      for (const offset of [0, 1, 2, 3]) {
        same(await normal(n, [1, 2, 3, 4, 5], offset), want.subarray(0, n))
      }
    }
  })

  test('follows the normal distribution', async () => {
    const n = 1 << 18
    const x = await normal(n, [7, 0, 0, 0, 0])
    const moment = (power: number): number => x.reduce((sum, value) => sum + value ** power, 0) / n
    // Five standard deviations of each mean: Var zᵏ = (2k−1)!! − ((k−1)!! if k is even)².
    const five = 5 / Math.sqrt(n)
    assert.ok(Math.abs(moment(1)) <= five)
    assert.ok(Math.abs(moment(2) - 1) <= five * Math.sqrt(2))
    assert.ok(Math.abs(moment(3)) <= five * Math.sqrt(15))
    assert.ok(Math.abs(moment(4) - 3) <= five * Math.sqrt(96))
    assert.ok(x.every((value) => Math.abs(value) < 6.4))
    const far = x.filter((value) => Math.abs(value) > 3).length // P = 0.0026998
    assert.ok(Math.abs(far / n - 0.0026998) <= five * Math.sqrt(0.0027))
  })

  test('has the same bits as on every other engine', async () => {
    const x = await normal(1 << 16, [1, 2, 3, 4, 5])
    assert.is(createHash('sha256').update(new Uint8Array(x.buffer)).digest('hex'), GOLDEN)
  })

  test('has the bits of the reference, tails included', async () => {
    let farthest = 0
    for (let step = 0; step < 8; step++) {
      const key = [0xfedcba98, 1, 2, 3, step] as const
      const got = await normal(1 << 17, key)
      const want = new Float32Array(got.length)
      await backends[0]!.normal(want, ...key)
      same(got, want)
      farthest = got.reduce((most, value) => Math.max(most, Math.abs(value)), farthest)
    }
    assert.ok(farthest > 4.5, `${farthest}`) // the farthest of a million is about 4.9
  })

  test.run()
}
