// The phases of a step over a whole plan, as `lowrank/kernels` offers them, against the kernels on
// one matrix after another.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { bytesOf } from '../../src/bytes.ts'
import { createLayout, createWasmKernels, wasm } from '../../src/kernels.ts'
import { same } from '../support/close.ts'
import { gaussian } from '../support/gaussian.ts'

const test = suite('phases')

// Wider than a tile of 2¹⁵ floats, taller than one, narrow, raw.
const SHAPES = [[6, 40_000], [9], [300, 7, 5, 5], [11, 6]]

test('over a plan are the kernels on each matrix', async () => {
  const layout = createLayout(SHAPES, { rank: 3, minCompressionRate: 0 })
  assert.equal(
    layout.parameters.map(({ rank }) => rank),
    [3, 0, 3, 3],
  )
  const kernels = await createWasmKernels()
  const session = await wasm({ relaxed: false }).open(layout)
  const gradients = layout.parameters.map(({ length }, i) => gaussian(length, i))
  const query = gaussian(layout.rightFloats, 10)
  const left = gaussian(layout.leftFloats, 11)
  const mean = gaussian(layout.rightFloats, 12)
  const raw = gaussian(layout.rawFloats, 13)

  session.write('qHat', bytesOf(query))
  assert.is(await session.accumulateProject(gradients), true)
  assert.is(await session.accumulateProject(gradients), true) // M = 2g
  const p = new Float32Array(layout.leftFloats)
  await session.read(['left'], p)
  session.write('left', bytesOf(left))
  await session.backproject()
  const q = new Float32Array(layout.rightFloats)
  await session.read(['qLocal'], q)
  session.write('qMean', bytesOf(mean))
  const updates = layout.parameters.map(({ length }) => new Float32Array(length).fill(1))
  await session.settle(true, bytesOf(raw), { into: updates, scale: -0.5, accumulate: true })
  const residual = new Float32Array(layout.denseFloats)
  await session.read(['residual'], residual)

  let at = 0
  for (const { index, rank, rows, cols, length, left: l, right: r, raw: w } of layout.parameters) {
    const m = gradients[index]!.map((g) => 2 * g)
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
})

test.run()
