// Phases on the GPU against phases on wasm, wherever gradients and updates lie.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Layout, Session, Slot } from '../../../src/backend.ts'
import { wasm } from '../../../src/backends/wasm/index.ts'
import { webgpu } from '../../../src/backends/webgpu/index.ts'
import { bytesOf } from '../../../src/bytes.ts'
import { createLayout } from '../../../src/kernels.ts'
import { gamma, within } from '../../support/close.ts'
import { gaussian } from '../../support/gaussian.ts'
import { openDevice } from './device.ts'
import { small } from './small.ts'
import { type Kind, type Laying, layTensors, readTensors } from './tensors.ts'

/** Columns that groups of four do not divide, raw tensors, one wider than a tile, one taller. */
const SHAPES = [
  [64, 27],
  [64],
  [128, 96],
  [10, 513],
  [3],
  [7, 5],
  [12, 4100],
  [700, 40],
  [1, 9],
  { shape: [30, 8], compress: false },
  { shape: [33], compress: true },
]

const LAYINGS: readonly Laying[] = ['arrays', 'one buffer', 'scattered', 'unaligned']

const opened = await openDevice()
const test = suite('session on WebGPU')

if (typeof opened === 'string') test.skip(opened)
else {
  const device = opened
  test.after(() => device.destroy())

  for (const [rank, layings] of [
    [1, ['one buffer']],
    [2, ['unaligned']],
    [3, LAYINGS],
    [4, ['one buffer']],
    [9, ['scattered']],
  ] as const) {
    for (const laying of layings) {
      test(`phases agree with wasm's: rank ${rank}, ${laying}`, () =>
        agrees(device, createLayout(SHAPES, { rank }), laying, 'f32'))
    }
  }
  for (const laying of ['one buffer', 'scattered'] as const) {
    test(`phases agree with wasm's: f16, ${laying}`, () =>
      agrees(device, createLayout(SHAPES, { rank: 3 }), laying, 'f16'))
  }

  for (const bytes of [1 << 18, 1 << 17]) {
    for (const laying of ['arrays', 'unaligned', 'scattered'] as const) {
      test(`buffers of ${bytes} bytes do for any model, in windows: ${laying}`, () =>
        agrees(small(device, bytes), createLayout(SHAPES, { rank: 2 }), laying, 'f32'))
    }
  }

  test('a gradient that is too large is taken back, wherever it lies', async () => {
    const layout = createLayout(SHAPES, { rank: 2 })
    for (const laying of LAYINGS) {
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -(2 ** 100)]) {
        const session = await (await webgpu({ device })).open(layout)
        const before = layout.parameters.map(({ length }, i) => gaussian(length, i))
        session.write('residual', bytesOf(joined(before)))
        session.write('qHat', bytesOf(gaussian(layout.rightFloats, 50)))
        const gradients = layout.parameters.map(({ length }, i) => gaussian(length, 100 + i))
        gradients[3]![17] = value
        const tensors = layTensors(device, gradients, laying, 'f32')
        assert.is(await session.accumulateProject(tensors), false)
        const after = await read(session, 'residual', layout.denseFloats)
        const [e, g] = [joined(before), joined(gradients)]
        // (e + g) − g: two roundings, of the sum and of the difference. Numbers that are too large are not added.
        within(after, e, (i) => 2 ** -24 * (2 * Math.abs(e[i]!) + Math.abs(g[i]! || 0)))
        session.dispose()
      }
    }
  })

  test('other ranks leave M as it is', async () => {
    const layout = createLayout(SHAPES, { rank: 2 })
    const session = await (await webgpu({ device: small(device, 1 << 18) })).open(layout)
    const m = gaussian(layout.denseFloats, 1)
    session.write('residual', bytesOf(m))
    const raw = createLayout(
      SHAPES.map((one) => ({ shape: 'shape' in one ? one.shape : one, compress: false })),
    )
    for (const next of [createLayout(SHAPES, { rank: 5 }), raw, layout]) {
      session.rearrange(next)
      assert.equal(await read(session, 'residual', layout.denseFloats), m)
      const values = await read(session, 'raw', next.rawFloats)
      const want = next.raws.flatMap(({ index, length }) => {
        const start = layout.parameters.slice(0, index).reduce((sum, one) => sum + one.length, 0)
        return [...m.subarray(start, start + length)]
      })
      assert.equal(values, Float32Array.from(want))
    }
    session.dispose()
  })

  test('scales and clears M, and sums its squares', async () => {
    const layout = createLayout(SHAPES, { rank: 2 })
    for (const bytes of [1 << 28, 1 << 17]) {
      const session = await (await webgpu({ device: small(device, bytes) })).open(layout)
      const m = gaussian(layout.denseFloats, 1)
      session.write('residual', bytesOf(m))
      const squares = await session.norms()
      let at = 0
      for (const { index, length } of layout.parameters) {
        const want = m.subarray(at, at + length).reduce((sum, x) => sum + x * x, 0)
        const got = squares[index]!
        at += length
        assert.ok(Math.abs(got - want) <= gamma(15) * want, `${index}: ${got}, not ${want}`)
      }
      await session.scale('residual', 0.5)
      assert.equal(
        await read(session, 'residual', m.length),
        m.map((x) => x / 2),
      )
      session.scale('raw', 0)
      assert.equal(await read(session, 'raw', layout.rawFloats), new Float32Array(layout.rawFloats))
      session.scale('residual', 0)
      assert.ok((await session.norms()).every((square) => square === 0))
      session.dispose()
    }
  })
}
test.run()

/** Runs the phases of two steps on wasm and on the device, and compares whatever can be read. */
async function agrees(
  device: GPUDevice,
  layout: Layout,
  laying: Laying,
  kind: Kind,
): Promise<void> {
  const session = await (await webgpu({ device })).open(layout)
  const other = await wasm({ relaxed: false }).open(layout)
  const { leftFloats, rightFloats, rawFloats, denseFloats } = layout
  for (let step = 0; step < 2; step++) {
    // Numbers that an f16 has, too.
    const gradients = layout.parameters.map(({ length }, i) =>
      gaussian(length, 10 * step + i).map((x) => Math.round(256 * x) / 256),
    )
    const query = gaussian(rightFloats, 1000 + step)
    session.write('qHat', bytesOf(query))
    other.write('qHat', bytesOf(query))
    const tensors = layTensors(device, gradients, laying, kind)
    assert.is(await session.accumulateProject(tensors), true)
    assert.is(await other.accumulateProject(gradients), true)
    await close(session, other, 'residual', denseFloats, 1e-5)
    await close(session, other, 'left', leftFloats, 2e-3)
    await close(session, other, 'raw', rawFloats, 1e-5)
    await session.project()
    await close(session, other, 'left', leftFloats, 2e-3)

    const left = gaussian(leftFloats, 2000 + step).map((x) => x / 8)
    session.write('left', bytesOf(left))
    other.write('left', bytesOf(left))
    await session.backproject()
    await other.backproject()
    await close(session, other, 'qLocal', rightFloats, 1e-3)

    const mean = gaussian(rightFloats, 3000 + step)
    const raw = bytesOf(gaussian(rawFloats + 1, 4000 + step)).subarray(4)
    for (const one of [session, other]) one.write('qMean', bytesOf(mean))
    for (const [accumulate, deflate, scale] of [
      [false, true, 1],
      [true, false, -0.25],
    ] as const) {
      const into = gradients.map((gradient) => gradient.map((x) => x / 2))
      const there = layTensors(device, into, laying, kind)
      await session.settle(deflate, raw, { into: there, scale, accumulate })
      await other.settle(deflate, raw, { into, scale, accumulate })
      const got = await readTensors(device, there, into, kind)
      for (const [i, want] of into.entries()) {
        const bound = (j: number) => (kind === 'f16' ? 2 ** -11 * Math.abs(want[j]!) : 0) + 2e-5
        within(got[i]!, want, bound)
      }
    }
    await close(session, other, 'residual', denseFloats, 1e-4)
    await session.settle(true, null, null)
    other.settle(true, null, null)
    await close(session, other, 'residual', denseFloats, 1e-4)
  }
  session.dispose()
  other.dispose()
}

async function close(a: Session, b: Session, slot: Slot, floats: number, bound: number) {
  within(await read(a, slot, floats), await read(b, slot, floats), () => bound)
}

async function read(session: Session, slot: Slot, floats: number): Promise<Float32Array> {
  const values = new Float32Array(floats).fill(Number.NaN)
  await session.read([slot], values)
  return values
}

function joined(arrays: readonly Float32Array[]): Float32Array {
  return Float32Array.from(arrays.flatMap((array) => [...array]))
}
