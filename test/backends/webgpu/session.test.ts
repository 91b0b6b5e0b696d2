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
import { audit } from './audit.ts'
import { openDevice } from './device.ts'
import { failingMaps } from './failing-maps.ts'
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

/** Their size, an element that is too large, and their type. e is about 1e-3. */
const GRADIENTS: readonly [size: number, bad: number, kind: Kind][] = [
  [3e4, Number.POSITIVE_INFINITY, 'f32'],
  [3e4, 0, 'f32'], // room for copies has to be made, not for the first time
  [1, Number.NaN, 'f32'],
  [1e20, 0, 'f32'],
  [1e-3, -(2 ** 100), 'f32'],
  [1e37, 0, 'f32'],
  [3e4, 0, 'f16'],
  [3e4, Number.NEGATIVE_INFINITY, 'f16'],
]

/** Frozen, or without a tensor. */
const FROZEN = [1, 2, 5, 9]
const MISSING = [0, 4, 6]

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

  for (const laying of LAYINGS) {
    test(`a gradient of any size that is refused or withdrawn leaves M as it was: ${laying}`, async () => {
      for (const bytes of [1 << 28, 1 << 17]) {
        const layout = createLayout(SHAPES, { rank: bytes === 1 << 17 ? 2 : 6 })
        const session = await (await webgpu({ device: small(device, bytes) })).open(layout)
        for (const [size, bad, kind] of GRADIENTS) {
          if (kind === 'f16' && laying === 'arrays') continue
          await leavesM(device, session, layout, laying, { size, bad, kind })
        }
        session.dispose()
      }
    })
  }

  test('ordinary gradients take no memory, and a large one gives it back', async () => {
    const fresh = (await openDevice()) as GPUDevice
    const layout = createLayout(SHAPES, { rank: 2 })
    const session = await (await webgpu({ device: fresh })).open(layout)
    session.write('qHat', bytesOf(gaussian(layout.rightFloats, 50)))
    const tensors = (scale: number) =>
      layTensors(fresh, draw(layout, 1, scale), 'one buffer', 'f32')
    const [usual, large] = [tensors(1), tensors(1e5)]
    session.write('residual', bytesOf(joined(draw(layout, 9, 1))))
    await session.accumulateProject(usual)
    const { counts } = audit(fresh)
    for (const [gradient, more] of [
      [usual, 0],
      [large, 1], // copies of e
      [usual, 1],
      [usual, 0],
    ] as const) {
      session.write('residual', bytesOf(joined(draw(layout, 9, 1))))
      assert.is(await session.accumulateProject(gradient), true)
      const copies = counts.bufferBytes / (4 * layout.denseFloats)
      assert.ok(copies >= more * 0.9 - 0.1 && copies <= 1.1 * more + 0.05, `${copies} copies`)
    }
    session.dispose()
    fresh.destroy()
  })

  test("P's padding is zero, whatever the device has computed before", async () => {
    const layout = createLayout([{ shape: [5, 12], compress: true }], { rank: 2 })
    const session = await (await webgpu({ device })).open(layout)
    // Partial sums that are large, where the padding of P will be.
    session.write('residual', bytesOf(new Float32Array(60).fill(3e30)))
    session.write('left', bytesOf(new Float32Array(10).fill(3e30)))
    await session.backproject()
    session.write('residual', bytesOf(gaussian(60, 1)))
    session.write('qHat', bytesOf(gaussian(24, 2)))
    await session.project()
    await session.backproject()
    assert.ok((await read(session, 'qLocal', 24)).every(Number.isFinite))
    session.dispose()
  })

  for (const laying of ['arrays', 'one buffer', 'scattered'] as const) {
    for (const kind of ['f32', 'f16'] as const) {
      if (laying === 'arrays' && kind === 'f16') continue
      test(`frozen parameters and tensors that are not there: ${laying}, ${kind}`, () =>
        sparse(device, laying, kind))
    }
  }

  test('M of a parameter that was frozen is zero', async () => {
    const layout = createLayout(SHAPES, { rank: 2 })
    for (const bytes of [1 << 28, 1 << 17]) {
      const session = await (await webgpu({ device: small(device, bytes) })).open(layout)
      const m = gaussian(layout.denseFloats, 1)
      session.write('residual', bytesOf(m))
      const frozen = freeze(layout, FROZEN)
      for (const next of [frozen, layout]) {
        session.rearrange(next)
        const want = joined(cut(layout, m).map((x, i) => (FROZEN.includes(i) ? x.fill(0) : x)))
        assert.equal(await read(session, 'residual', m.length), want)
        const squares = await session.norms()
        for (const i of FROZEN) assert.is(squares[i], 0)
      }
      session.dispose()
    }
  })

  test('a read that fails leaves M and the buffers as they were', async () => {
    const fresh = (await openDevice()) as GPUDevice
    const layout = createLayout(SHAPES, { rank: 2 })
    const session = await (await webgpu({ device: small(fresh, 1 << 17) })).open(layout)
    const e = joined(draw(layout, 9, 1e-3))
    session.write('residual', bytesOf(e))
    session.write('qHat', bytesOf(gaussian(layout.rightFloats, 50)))
    const mapping = failingMaps(fresh)
    const { counts } = audit(fresh)
    const g = draw(layout, 1, 1)
    await session.accumulateProject(g)
    await session.withdraw(g)
    const { buffers } = counts
    mapping.fail = 1
    await rejected(() => session.accumulateProject(g), /WebGPU: planted/)
    assert.ok(counts.buffers <= buffers, 'a buffer is left')
    const m = await read(session, 'residual', e.length)
    within(m, e, () => 1e-6 * 4e-3)

    assert.is(await session.accumulateProject(g), true)
    const sum = await read(session, 'residual', e.length)
    const gs = joined(g)
    within(sum, e, (i) => Math.abs(gs[i]!) + 1e-5)
    within(
      sum,
      e.map((x, i) => x + gs[i]!),
      () => 1e-5,
    )

    // A settle whose updates cannot be read has changed M; its repetition does not change M again.
    const left = gaussian(layout.leftFloats, 2)
    const qLocal = gaussian(layout.rightFloats, 3)
    const other = await wasm({ relaxed: false }).open(layout)
    for (const one of [session, other]) {
      one.write('residual', bytesOf(sum))
      one.write('left', bytesOf(left))
      one.write('qLocal', bytesOf(qLocal))
      one.write('qMean', bytesOf(qLocal))
    }
    const raw = bytesOf(gaussian(layout.rawFloats, 4))
    const into = draw(layout, 5, 1)
    const sink = { into, scale: 1, accumulate: false }
    for (const after of [1, 3]) {
      mapping.fail = after
      await rejected(() => session.settle(true, raw, sink), /WebGPU: planted/)
    }
    await session.settle(true, raw, sink)
    const want = draw(layout, 5, 1)
    await other.settle(true, raw, { ...sink, into: want })
    await close(session, other, 'residual', layout.denseFloats, 1e-4)
    for (const [i, one] of want.entries()) within(into[i]!, one, () => 1e-4)
    for (const again of [session, other]) await again.settle(true, null, null)
    await close(session, other, 'residual', layout.denseFloats, 1e-4)
    session.dispose()
    other.dispose()
    fresh.destroy()
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

/** M = e, then a gradient that is refused, or taken and withdrawn: M must be e again. */
async function leavesM(
  device: GPUDevice,
  session: Session,
  layout: Layout,
  laying: Laying,
  { size, bad, kind }: { size: number; bad: number; kind: Kind },
): Promise<void> {
  const e = draw(layout, 9, 1e-3)
  session.write('residual', bytesOf(joined(e)))
  session.write('qHat', bytesOf(gaussian(layout.rightFloats, 50)))
  const g = draw(layout, 1, 1).map((array) => array.map((x) => Math.sign(x) * size))
  if (bad !== 0) g.at(-1)![17] = bad
  const tensors = layTensors(device, g, laying, kind)
  const ok = await session.accumulateProject(tensors)
  assert.is(ok, bad === 0 && size < 2 ** 100)
  if (ok) {
    const gs = joined(g)
    const sums = joined(e).map((x, i) => x + gs[i]!)
    const bound = kind === 'f16' ? 2 ** -11 : 2 ** -23
    within(await read(session, 'residual', sums.length), sums, (i) => bound * Math.abs(sums[i]!))
    const ahead = await read(session, 'left', layout.leftFloats)
    await session.project() // of M as it is now
    assert.equal(await read(session, 'left', layout.leftFloats), ahead)
    await session.withdraw(tensors)
  }
  for (const [i, got] of cut(
    layout,
    await read(session, 'residual', layout.denseFloats),
  ).entries()) {
    const largest = e[i]!.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
    within(got, e[i]!, () => 1e-6 * largest)
  }
}

/** A step in which some parameters are frozen and some tensors are null, against one with zeros. */
async function sparse(device: GPUDevice, laying: Laying, kind: Kind): Promise<void> {
  const layout = createLayout(SHAPES, { rank: 2 })
  const frozen = freeze(layout, FROZEN)
  const session = await (await webgpu({ device: small(device, 1 << 17) })).open(frozen)
  const other = await (await webgpu({ device })).open(layout)
  const m = cut(layout, gaussian(layout.denseFloats, 1))
  for (const i of FROZEN) m[i]!.fill(0)
  session.write('residual', bytesOf(joined(m)))
  other.write('residual', bytesOf(joined(m)))
  const factor = (floats: number, own: number, seed: number) => {
    const all = gaussian(floats, seed)
    // The factors of matrices that are not frozen, for both.
    const parts = layout.matrices.map(({ index, rows, cols, rank, left, right }) => {
      const [at, length] = floats === layout.leftFloats ? [left, rows] : [right, cols]
      return { index, values: all.subarray(at, at + rank * length) }
    })
    const packed = joined(
      parts.flatMap(({ index, values }) => (FROZEN.includes(index) ? [] : [values])),
    )
    assert.is(packed.length, own)
    return [packed, all] as const
  }
  const write = (slot: Slot, [packed, all]: readonly [Float32Array, Float32Array]) => {
    session.write(slot, bytesOf(packed))
    other.write(slot, bytesOf(all))
  }
  const { leftFloats, rightFloats } = layout
  write('qHat', factor(rightFloats, frozen.rightFloats, 2))
  const g = draw(layout, 3, 1).map((array) => array.map((x) => Math.round(256 * x) / 256))
  const filled = g.map((array, i) =>
    FROZEN.includes(i) || MISSING.includes(i) ? array.map(() => 0) : array,
  )
  const there = layTensors(device, g, laying, kind).map((tensor, i) =>
    MISSING.includes(i) ? null : tensor,
  )
  assert.is(await session.accumulateProject(there), true)
  assert.is(await other.accumulateProject(filled), true)
  await close(session, other, 'residual', layout.denseFloats, 1e-6)
  write('left', factor(leftFloats, frozen.leftFloats, 4))
  write('qLocal', factor(rightFloats, frozen.rightFloats, 5))
  write('qMean', factor(rightFloats, frozen.rightFloats, 6))
  const raw = cut(layout, gaussian(layout.denseFloats, 7))
  const rawOf = (one: Layout) => bytesOf(joined(one.raws.map(({ index }) => raw[index]!)))
  for (const accumulate of [false, true]) {
    const before = draw(layout, 8, 1).map((array) => array.map((x) => Math.round(64 * x) / 64))
    const tensors = layTensors(
      device,
      before.map((array) => array.slice()),
      laying,
      kind,
    )
    const into = tensors.map((tensor, i) => (MISSING.includes(i) ? null : tensor))
    const wanted = before.map((array) => array.slice())
    await session.settle(!accumulate, rawOf(frozen), { into, scale: 1, accumulate })
    await other.settle(!accumulate, rawOf(layout), { into: wanted, scale: 1, accumulate })
    const got = await readTensors(device, tensors, before, kind)
    for (const [i, values] of got.entries()) {
      const untouched = MISSING.includes(i) || (FROZEN.includes(i) && accumulate)
      const want = untouched ? before[i]! : FROZEN.includes(i) ? values.map(() => 0) : wanted[i]!
      const exact = untouched || FROZEN.includes(i)
      within(values, want, (j) =>
        exact ? 0 : (kind === 'f16' ? 2 ** -11 * Math.abs(want[j]!) : 0) + 2e-5,
      )
    }
  }
  const after = cut(layout, await read(other, 'residual', layout.denseFloats))
  for (const i of FROZEN) after[i]!.fill(0) // there they have lost P·Qᵀ
  within(await read(session, 'residual', layout.denseFloats), joined(after), () => 1e-5)
  session.dispose()
  other.dispose()
}

/** The layout with some parameters frozen. */
function freeze(layout: Layout, frozen: readonly number[]): Layout {
  let [leftFloats, rightFloats, rawFloats] = [0, 0, 0]
  const parameters = layout.parameters.map((one) => {
    if (frozen.includes(one.index)) return { ...one, rank: 0, frozen: true }
    const placed = { ...one, left: leftFloats, right: rightFloats, raw: rawFloats }
    leftFloats += one.rank * one.rows
    rightFloats += one.rank * one.cols
    rawFloats += one.rank === 0 ? one.length : 0
    return placed
  })
  return {
    ...layout,
    parameters,
    matrices: parameters.filter(({ rank }) => rank > 0),
    raws: parameters.filter((one) => one.rank === 0 && !one.frozen),
    leftFloats,
    rightFloats,
    rawFloats,
  }
}

async function rejected(call: () => Promise<unknown> | unknown, message: RegExp): Promise<void> {
  let error: unknown
  try {
    await call()
  } catch (reason) {
    error = reason
  }
  assert.match(String(error), message)
}

function draw(layout: Layout, seed: number, scale: number): Float32Array[] {
  return layout.parameters.map(({ length }, i) =>
    gaussian(length, 100 * seed + i).map((x) => scale * x),
  )
}

/** One array for each parameter. */
function cut({ parameters }: Layout, values: Float32Array): Float32Array[] {
  let at = 0
  return parameters.map(({ length }) => {
    at += length
    return values.slice(at - length, at)
  })
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
