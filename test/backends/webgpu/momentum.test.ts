import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { reference } from '../../../src/backends/reference.ts'
import { MOMENTUM_BAND, MOMENTUM_TILE, pack } from '../../../src/backends/webgpu/structs.ts'
import { gamma, same, within } from '../../support/close.ts'
import { gaussian } from '../../support/gaussian.ts'
import { magnitudes } from '../../support/shapes.ts'
import { openDevice } from './device.ts'
import { dispatch } from './dispatch.ts'

const opened = await openDevice()
const test = suite('momentum in WGSL')

const [RATE, MOMENTUM, DECAY] = [0.1, 0.9, 1e-4].map(Math.fround) as [number, number, number]

/** On either side of a workgroup's 256 invocations, and of a tile's 4096. */
const LENGTHS = [0, 1, 3, 4, 5, 255, 256, 257, 1023, 1025, 4095, 4096]

interface Tile {
  x: number
  g: number
  m: number
  length: number
}

if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened
  test.after(() => device.destroy())

  async function descend(
    arrays: { x: Float32Array; g: Float32Array; m: Float32Array },
    tiles: readonly Tile[],
    [rate, momentum, decay]: readonly [number, number, number],
    { first = 0, count = tiles.length, groups = count as number | readonly [number, number] } = {},
  ) {
    const table = pack(MOMENTUM_TILE, tiles)
    const uniform = pack(MOMENTUM_BAND, [
      { first, count, learningRate: rate, momentum, weightDecay: decay },
    ])
    const { x, g, m } = arrays
    const [, moved, , velocity] = await dispatch(
      device,
      'momentum',
      [table, x.slice(), g.slice(), m.slice()],
      { uniform, groups },
    )
    return { x: moved, m: velocity }
  }

  /** Tiles with gaps of one float and more between them, at offsets of their own in each buffer. */
  function layout() {
    const tiles: Tile[] = []
    const end = { x: 1, g: 2, m: 3 }
    for (const [i, length] of LENGTHS.entries()) {
      tiles.push({ ...end, length })
      end.x += length + 1
      end.g += length + (i % 3)
      end.m += length + 5
    }
    return {
      tiles,
      arrays: { x: gaussian(end.x, 1), g: gaussian(end.g, 2), m: gaussian(end.m, 3) },
    }
  }

  test('descends, exactly for small integers', async () => {
    const arrays = {
      x: Float32Array.of(8, -8, 1),
      m: Float32Array.of(2, 4, 1),
      g: Float32Array.of(1, 0, 1),
    }
    // d = g + x/4 = (3, −2); m = m/2 + d = (4, 0); x = x − (d + m)/2
    const got = await descend(arrays, [{ x: 0, g: 0, m: 0, length: 2 }], [0.5, 0.5, 0.25])
    same(got.m, Float32Array.of(4, 0, 1))
    same(got.x, Float32Array.of(4.5, -7, 1))
  })

  test('agrees with the reference, and leaves what lies between tiles', async () => {
    const { tiles, arrays } = layout()
    const got = await descend(arrays, tiles, [RATE, MOMENTUM, DECAY])
    const want = { x: arrays.x.slice(), m: arrays.m.slice() }
    // On absolute values, and with everything added, it gives the bound; between tiles it is 0.
    const size = { x: new Float32Array(want.x.length), m: new Float32Array(want.m.length) }
    for (const { x, g, m, length } of tiles) {
      const part = (array: Float32Array, at: number) => array.subarray(at, at + length)
      const update = part(arrays.g, g)
      part(size.x, x).set(magnitudes(part(arrays.x, x)))
      part(size.m, m).set(magnitudes(part(arrays.m, m)))
      await reference.momentum(part(want.x, x), part(want.m, m), update, RATE, MOMENTUM, DECAY)
      const sizes = [part(size.x, x), part(size.m, m), magnitudes(update)] as const
      await reference.momentum(...sizes, -RATE, MOMENTUM, DECAY)
    }
    // Two operations to d, two more to m, three more to x; + 2: the rounding of the reference,
    // and of the bound. Fused, there are fewer.
    within(got.m, want.m, (i) => gamma(4 + 2) * size.m[i]!)
    within(got.x, want.x, (i) => gamma(7 + 2) * size.x[i]!)
  })

  test('descends without momentum, and leaves m alone', async () => {
    const { tiles, arrays } = layout()
    arrays.m.fill(Number.NaN)
    const got = await descend(arrays, tiles, [RATE, 0, DECAY])
    same(got.m, arrays.m)
    const want = arrays.x.slice()
    const size = new Float32Array(want.length)
    for (const { x, g, length } of tiles) {
      for (let i = 0; i < length; i++) {
        const d = [arrays.g[g + i]!, DECAY * arrays.x[x + i]!] as const
        want[x + i]! -= RATE * (d[0] + d[1])
        size[x + i] = Math.abs(arrays.x[x + i]!) + RATE * (Math.abs(d[0]) + Math.abs(d[1]))
      }
    }
    within(got.x, want, (i) => gamma(4 + 2) * size[i]!)
  })

  test('takes the tiles of a band, in workgroups in rows', async () => {
    const { tiles, arrays } = layout()
    const all = await descend(arrays, tiles, [RATE, MOMENTUM, DECAY])
    const some = await descend(arrays, tiles, [RATE, MOMENTUM, DECAY], {
      first: 5,
      count: 5,
      groups: [3, 2],
    })
    for (const key of ['x', 'm'] as const) {
      const [from, to] = [tiles[5]![key], tiles[10]![key]]
      const want = arrays[key].slice()
      want.set(all[key].subarray(from, to), from)
      same(some[key], want)
      assert.ok(to - from > 1000)
    }
  })
}

test.run()
