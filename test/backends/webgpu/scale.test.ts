import { suite } from 'uvu'
import { pack, SCALE_FOURS, SCALE_RANGE } from '../../../src/backends/webgpu/structs.ts'
import { same } from '../../support/close.ts'
import { gaussian } from '../../support/gaussian.ts'
import { openDevice } from './device.ts'
import { dispatch } from './dispatch.ts'

const opened = await openDevice()
const test = suite('scale in WGSL')

/** In groups of four; on either side of a workgroup's 256. */
const COUNTS = [0, 1, 3, 255, 256, 257, 1023, 1025]

if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened
  test.after(() => device.destroy())

  async function scale(x: Float32Array, factor: number, count = x.length / 4) {
    const uniform = pack(SCALE_RANGE, [{ first: 0, count, factor }])
    const [scaled] = await dispatch(device, 'scale', [x], {
      uniform,
      groups: Math.ceil(count / SCALE_FOURS),
    })
    return scaled
  }

  test('multiplies, with one rounding', async () => {
    const factor = Math.fround(0.3)
    for (const count of COUNTS) {
      const x = gaussian(4 * count, count)
      same(
        await scale(x, factor),
        x.map((value) => factor * value),
      )
    }
  })

  test('clears whatever there was, if the factor is 0', async () => {
    for (const value of [Number.NaN, Number.NEGATIVE_INFINITY, -1]) {
      for (const zero of [0, -0]) {
        same(await scale(new Float32Array(1028).fill(value), zero), new Float32Array(1028))
      }
    }
  })

  test('leaves what lies past the count', async () => {
    const x = gaussian(4 * 600, 1)
    for (const count of [255, 256, 257, 300]) {
      const want = x.map((value, i) => (i < 4 * count ? 2 * value : value))
      same(await scale(x, 2, count), want)
    }
  })

  test('takes workgroups in rows, and more than it needs', async () => {
    const x = gaussian(4 * 1200, 1) // five workgroups
    const uniform = pack(SCALE_RANGE, [{ first: 0, count: 1200, factor: -4 }])
    const [scaled] = await dispatch(device, 'scale', [x], { uniform, groups: [3, 2] })
    same(
      scaled,
      x.map((value) => -4 * value),
    )
  })
}

test.run()
