// The phases of a step over a whole plan, as `lowrank/kernels` offers them, against the kernels on
// one matrix after another.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesOf } from '../../src/bytes.ts'
import type { ParameterSpec } from '../../src/index.ts'
import type { Layout, Session } from '../../src/kernels.ts'
import { createLayout, createWasmKernels, wasm } from '../../src/kernels.ts'
import { same } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const test = suite('phases')

const RANK = 3

const MODELS: Readonly<Record<string, readonly ParameterSpec[]>> = {
  // Wider than a tile of 2¹⁵ floats, taller than one, narrow, raw.
  'any sizes': [[6, 40_000], [9], [300, 7, 5, 5], [11, 6]],
  // Rows of M, columns of factors, or both lie apart; raw ones too; and the longest that do, and
  // the first that do not.
  'multiples of 512': [
    [40, 1024],
    { shape: [70, 512], compress: false },
    [1024, 30],
    [512],
    [512, 1536],
    { shape: [3, 65_536], compress: false },
    [5, 65_536],
    { shape: [5, 66_048], compress: false },
    [5, 66_048],
    [9, 513],
    { shape: [1, 1024], compress: true },
    [1024, 1],
  ],
}

for (const [name, shapes] of Object.entries(MODELS)) {
  for (const resident of [false, true]) {
    const where = resident ? 'in place' : 'through tiles'
    test(`over a plan are the kernels on each matrix: ${name}, ${where}`, () =>
      sameAsKernels(shapes, resident))
  }
}

/** Compares all phases of a session, and what it reads and writes. */
async function sameAsKernels(shapes: readonly ParameterSpec[], resident: boolean): Promise<void> {
  const layout = createLayout(shapes, { rank: RANK, minCompressionRate: 0 })
  const kernels = await createWasmKernels()
  const session = await wasm({ relaxed: false }).open(layout, { resident })
  const drawn = layout.parameters.map(({ length }, i) => gaussian(length, i))
  const gradients = session.gradients ?? drawn
  if (resident) for (const [i, gradient] of gradients.entries()) gradient.set(drawn[i]!)
  const query = gaussian(layout.rightFloats, 10)
  const left = gaussian(layout.leftFloats, 11)
  const mean = gaussian(layout.rightFloats, 12)
  const raw = gaussian(layout.rawFloats, 13)

  session.write('qHat', bytesOf(query))
  assert.is(await session.accumulateProject(gradients), true)
  assert.is(await session.accumulateProject(gradients), true) // M = 2g
  assert.is(await session.accumulateProject(gradients), true) // M = 3g, and again 2g
  await session.withdraw(gradients)
  await session.project()
  const p = new Float32Array(layout.leftFloats)
  await session.read(['left'], p)
  session.write('left', bytesOf(left))
  await session.backproject()
  const q = new Float32Array(layout.rightFloats)
  await session.read(['qLocal'], q)
  session.write('qMean', bytesOf(mean))
  const updates =
    session.gradients ?? layout.parameters.map(({ length }) => new Float32Array(length))
  for (const update of updates) update.fill(1)
  await session.settle(true, bytesOf(raw), { into: updates, scale: -0.5, accumulate: true })
  const residual = new Float32Array(layout.denseFloats)
  await session.read(['residual'], residual)

  await checkResidual(session, layout, residual)
  let at = 0
  for (const { index, rank, rows, cols, length, left: l, right: r, raw: w } of layout.parameters) {
    const g = drawn[index]!
    const m = g.map((x) => Math.fround(Math.fround(2 * x + x) - x))
    const own = residual.subarray(at, at + length)
    at += length
    if (rank === 0) {
      same(own, m)
      same(
        updates[index]!,
        raw.subarray(w, w + length).map((x) => 1 + Math.fround(-0.5 * x)),
      )
      continue
    }
    const dims = { rows, cols, rank }
    const wantP = new Float32Array(rows * rank)
    const wantQ = new Float32Array(cols * rank)
    const factor = left.subarray(l, l + rows * rank)
    const wantY = new Float32Array(length).fill(1)
    await kernels.project(wantP, m, query.subarray(r, r + cols * rank), dims)
    await kernels.backproject(wantQ, m, factor, dims)
    await kernels.reconstruct(wantY, factor, mean.subarray(r, r + cols * rank), dims, -0.5, true)
    await kernels.residual(m, factor, wantQ, dims)
    const gotP = p.subarray(l, l + rows * rank)
    same(gotP, wantP)
    same(q.subarray(r, r + cols * rank), wantQ)
    same(updates[index]!, wantY)
    same(own, m)
  }
  session.dispose()
}

/** Norms, scaling, and that what is written is read again. */
async function checkResidual(
  session: Session,
  layout: Layout,
  residual: Float32Array,
): Promise<void> {
  const { norm } = await createWasmKernels()
  const norms = await session.norms()
  let at = 0
  for (const { index, length } of layout.parameters) {
    assert.is(norms[index], await norm(residual.subarray(at, at + length)))
    at += length
  }
  const now = new Float32Array(residual.length)
  await session.scale('raw', 0)
  await session.scale('residual', 2)
  await session.read(['residual'], now)
  at = 0
  for (const { rank, length } of layout.parameters) {
    same(
      now.subarray(at, at + length),
      residual.subarray(at, at + length).map((x) => (rank === 0 ? 0 : 2 * x)),
    )
    at += length
  }
  session.write('residual', bytesOf(residual))
  await session.read(['residual'], now)
  same(now, residual)
}

test.run()
