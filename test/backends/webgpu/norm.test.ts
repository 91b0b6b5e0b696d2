import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { reference } from '../../../src/backends/reference.ts'
import { combine } from '../../../src/backends/webgpu/norm.ts'
import { NORM_FOURS, NORM_RANGE, pack } from '../../../src/backends/webgpu/structs.ts'
import { gamma } from '../../support/close.ts'
import { gaussian } from '../../support/gaussian.ts'
import { openDevice } from './device.ts'
import { dispatch } from './dispatch.ts'

const opened = await openDevice()
const test = suite('norm in WGSL')

/** In groups of four; on either side of an invocation's stride and of a workgroup's 1024. */
const COUNTS = [0, 1, 2, 3, 255, 256, 257, 1023, 1024, 1025, 2048, 5000]

if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened
  test.after(() => device.destroy())

  async function norm(
    x: Float32Array,
    count = x.length / 4,
    groups: number | readonly [number, number] = Math.ceil(count / NORM_FOURS),
  ): Promise<number> {
    // Whatever is not written is NaN.
    const sums = new Uint32Array(2 * Math.ceil(count / NORM_FOURS)).fill(0xffff_ffff)
    const [, written] = await dispatch(device, 'norm', [x, sums], {
      uniform: pack(NORM_RANGE, [{ first: 0, count, to: 0 }]),
      groups,
    })
    return combine(written)
  }

  /** The square, three additions, two across the lanes, eight in the tree; then float64. */
  function near(got: number, x: Float32Array, scale = 1): void {
    const want = (reference.norm(x) as number) * scale
    const bound = (gamma(14) + 2 * x.length * 2 ** -53) * want
    assert.ok(Math.abs(got - want) <= bound, `${got}, want ${want} ± ${bound}`)
  }

  test('sums squares, exactly for small integers', async () => {
    for (const count of COUNTS) {
      const x = Float32Array.from({ length: 4 * count }, (_, i) => (i % 15) - 7)
      assert.is(await norm(x), reference.norm(x))
    }
  })

  test('errs by γ₁₄ at most', async () => {
    for (const count of COUNTS) {
      const x = gaussian(4 * count, count + 1)
      near(await norm(x), x)
      x.fill(0.1) // all roundings go the same way
      near(await norm(x), x)
    }
  })

  test('neither overflows nor vanishes', async () => {
    const x = gaussian(4 * 1500, 3)
    for (const exponent of [-100, -60, 60, 100, 124]) {
      near(await norm(x.map((value) => value * 2 ** exponent)), x, 4 ** exponent)
    }
    assert.is(await norm(new Float32Array(4).fill(2 ** 127)), 4 * 2 ** 254)
    assert.is(await norm(new Float32Array(4).fill(2 ** -126)), 4 * 2 ** -252)
    const mixed = Float32Array.from({ length: 4 * 3000 }, (_, i) => 2 ** ((i % 200) - 100))
    near(await norm(mixed), mixed)
  })

  test('takes subnormal numbers for 0, or for what they are', async () => {
    const x = new Float32Array(4096).fill(2 ** -127)
    const got = await norm(x)
    assert.ok(got === 0 || got === 4096 * 2 ** -254, `${got}`)
    assert.is(await norm(new Float32Array(8192)), 0)
  })

  test('passes on what is not finite', async () => {
    for (const at of [0, 3, 4095, 4096, 4101]) {
      const x = gaussian(4104, 1)
      x[at] = Number.NaN
      assert.ok(Number.isNaN(await norm(x)))
      x[at] = Number.NEGATIVE_INFINITY
      assert.is(await norm(x), Number.POSITIVE_INFINITY)
    }
  })

  test('leaves out what lies past the count', async () => {
    const x = gaussian(4 * 2000, 1)
    for (const count of [1, 1000, 1024, 1025]) {
      const some = x.slice(0, 4 * count)
      near(
        await norm(
          x.map((value, i) => (i < 4 * count ? value : Number.NaN)),
          count,
        ),
        some,
      )
    }
  })

  test('sums a stretch of a buffer, and leaves other sums alone', async () => {
    const x = gaussian(4 * 3000, 1)
    for (const [first, count] of [
      [1, 1024],
      [1500, 1500],
      [7, 2],
    ] as const) {
      const before = new Uint32Array(2 * 6).fill(0x7fc0_0001)
      const uniform = pack(NORM_RANGE, [{ first, count, to: 3 }])
      const call = { uniform, groups: Math.ceil(count / NORM_FOURS) }
      const [, sums] = await dispatch(device, 'norm', [x, before.slice()], call)
      const end = 2 * (3 + call.groups)
      near(combine(sums.subarray(6, end)), x.slice(4 * first, 4 * (first + count)))
      assert.equal(sums.subarray(0, 6), before.subarray(0, 6))
      assert.equal(sums.subarray(end), before.subarray(end))
    }
  })

  test('takes workgroups in rows, and more than it needs', async () => {
    const x = gaussian(4 * 4500, 1) // five workgroups
    assert.is(await norm(x, 4500, [3, 2]), await norm(x))
  })
}

test.run()
