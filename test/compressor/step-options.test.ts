// Shared options of a step: uncompressed steps, warm start, no feedback; raw tensors alone; other units.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createCompressor, type Options } from '../../src/index.ts'
import { sameFloats } from '../support/close.ts'
import { createFleet, residualsOf, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { ALL, distance, norm } from '../support/norms.ts'
import { gradientsOf, uniform } from '../support/numbers.ts'

const test = suite('step options')

test('scaling the loss and the residual together scales the update', async () => {
  const shapes = [[9, 7], [4]]
  const make = () => createCompressor(shapes, { ...ALL, rank: 2 })
  const [plain, scaled] = [await make(), await make()]
  for (const worker of [plain, scaled]) await stepTogether([worker], [gradientsOf(shapes, 1)])
  await scaled.rescaleResidual(1024)
  const [a] = (await stepTogether([plain], [gradientsOf(shapes, 2)])).updates
  const [b] = (await stepTogether([scaled], [gradientsOf(shapes, 2, 1024)])).updates
  for (const [i, want] of a!.entries())
    sameFloats(
      b![i]!,
      want.map((x) => 1024 * x),
      `update ${i}`,
    )
})

test('raw alone: one round, and the plain mean', async () => {
  const shapes = [[5], [1, 7], [3, 3]]
  const workers = await createFleet(shapes, 2)
  assert.equal(workers[0]!.stats.ranks, [0, 0, 0])
  const gradients = [gradientsOf(shapes, 1), gradientsOf(shapes, 2)]
  const { frames, updates } = await stepTogether(workers, gradients)
  assert.is(frames.length, 1)
  for (const [i, got] of updates[0]!.entries()) {
    const want = got.map((_, j) => (gradients[0]![i]![j]! + gradients[1]![i]![j]!) / 2)
    sameFloats(got, want, `update ${i}`)
  }
})

test('startCompressingAfter: so many steps are averaged whole in float32, aborted ones counted', async () => {
  const shapes = [[6, 8], [5]]
  const options: Options = { ...ALL, rank: 1, startCompressingAfter: 3 }
  const workers = await createFleet(shapes, [{ wire: 'int8' }, { wire: 'f16' }], options)
  for (let step = 0; step < 5; step++) {
    const gradients = [gradientsOf(shapes, 2 * step + 1), gradientsOf(shapes, 2 * step + 2)]
    if (step === 1) {
      for (const [i, worker] of workers.entries()) {
        await worker.compress(gradients[i]!)
        worker.abort()
      }
      continue
    }
    const pending = await Promise.all(workers.map(residualsOf))
    const { frames, updates } = await stepTogether(workers, gradients)
    const whole = step < 3
    assert.is(frames.length, whole ? 1 : 2)
    for (const [i, frame] of frames[0]!.entries()) {
      const { type, ranks } = open(frame)
      assert.is(type, whole ? 'f32' : ['int8', 'f16'][i])
      assert.equal([...ranks], whole ? [0, 0] : [1, 0])
    }
    if (!whole) continue
    const m = gradients.map((g, w) => g.map((x, p) => x.map((y, j) => y + pending[w]![p]![j]!)))
    for (const [p, got] of updates[0]!.entries()) {
      sameFloats(
        got,
        got.map((_, j) => (m[0]![p]![j]! + m[1]![p]![j]!) / 2),
        'plain mean',
      )
    }
    for (const worker of workers) {
      for (const e of await residualsOf(worker)) assert.ok(e.every((x) => x === 0))
    }
  }
})

test('warmStart: the last Q, fresh ones, or the first for ever', async () => {
  const m = uniform(15 * 12, 6)
  const left = async (options: Options) => {
    const worker = await createCompressor([[15, 12]], { ...ALL, errorFeedback: 'none', ...options })
    const all: Float32Array[] = []
    for (let step = 0; step < 2; step++) {
      const { frames } = await stepTogether([worker], [[m]])
      all.push(open(frames[0]![0]!).floats)
    }
    return all as [Float32Array, Float32Array]
  }
  const fixed = await left({ rank: 2, warmStart: 'fixed' })
  sameFloats(fixed[1], fixed[0], 'P of a fixed query')
  const cold = await left({ rank: 2, warmStart: false })
  const warm = await left({ rank: 2 })
  sameFloats(cold[0], fixed[0], 'the first P')
  sameFloats(warm[0], fixed[0], 'the first P')
  assert.ok(distance(cold[1], cold[0]) > 0.1 * norm(cold[0]))
  assert.ok(norm(warm[1]) > norm(warm[0]), 'a warm query finds more')
})

test('errorFeedback "none" keeps nothing, aborted or not', async () => {
  const shapes = [[6, 8], [5]]
  const worker = await createCompressor(shapes, { ...ALL, rank: 1, errorFeedback: 'none' })
  await stepTogether([worker], [gradientsOf(shapes, 1)])
  for (const e of await residualsOf(worker)) assert.ok(e.every((x) => x === 0))
  await worker.compress(gradientsOf(shapes, 2))
  worker.abort()
  for (const e of await residualsOf(worker)) assert.ok(e.every((x) => x === 0))
})

test.run()
