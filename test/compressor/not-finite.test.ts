// If a gradient or its factors are not finite, the worker is absent and its residual stays as it
// was.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { type Backend, createCompressor, type Random, wasm } from '../../src/index.ts'
import { sameFloats, UNIT, within } from '../support/close.ts'
import { residualsOf, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { ALL, distance, norm } from '../support/norms.ts'
import { gradientsOf } from '../support/numbers.ts'

const test = suite('not finite')

test('a gradient that is not finite is as if the step had not been', async () => {
  const shapes = [[9, 7], [4]]
  const make = () => createCompressor(shapes, { ...ALL, rank: 2 })
  const [with_, without] = [await make(), await make()]
  for (const worker of [with_, without]) await stepTogether([worker], [gradientsOf(shapes, 1)])
  const before = await residualsOf(with_)
  for (const [value, at] of [
    [Number.POSITIVE_INFINITY, 0],
    [Number.NaN, 40],
  ] as const) {
    const bad = gradientsOf(shapes, 2)
    bad[0]![at] = value
    const { outcomes, updates } = await stepTogether([with_], [bad])
    assert.equal(outcomes[0], { counted: false, senders: [], weight: 0, refused: [] })
    assert.ok(updates[0]!.flatMap((x) => [...x]).every((x) => x === 0))
    const after = await residualsOf(with_)
    for (const [i, e] of before.entries()) {
      // (e + g) − g: three roundings of numbers below |e| + |g|; |g| < 1.
      within(after[i]!, e, (j) => 3 * UNIT * (Math.abs(e[j]!) + 1), 'residual')
    }
    // Neither the bad number nor any row beyond its group of four has been added.
    const beyond = (Math.floor(at / 28) + 1) * 28
    assert.is(after[0]![at], before[0]![at])
    sameFloats(after[0]!.subarray(beyond), before[0]!.subarray(beyond), 'residual')
    sameFloats(after[1]!, before[1]!, 'residual')
  }
  assert.is(with_.stats.absent.gradient, 2)
  const [a] = (await stepTogether([with_], [gradientsOf(shapes, 3)])).updates
  const [b] = (await stepTogether([without], [gradientsOf(shapes, 3)])).updates
  for (const [i, want] of b!.entries()) assert.ok(distance(a![i]!, want) <= 1e-5 * norm(want))
})

test('factors that are not finite take the gradient back; the worker is absent', async () => {
  // On wasm, gradients below 2¹⁰⁰ have finite factors: here the session returns an infinite one.
  const backend: Backend = {
    name: 'overflowing',
    async open(layout) {
      const session = await wasm().open(layout)
      const read = session.read.bind(session)
      session.read = (slots, into) => {
        read(slots, into)
        if (slots.includes('left')) into[1] = Infinity
      }
      return session
    },
  }
  const worker = await createCompressor([[4, 8], [3]], { ...ALL, rank: 1, backend })
  const { frames, outcomes } = await stepTogether(
    [worker],
    [[new Float32Array(32).fill(1), Float32Array.of(1, 2, 3)]],
  )
  assert.is(worker.stats.absent.factors, 1)
  for (const [frame] of frames) assert.is(open(frame!).weight, 0)
  assert.is(outcomes[0]!.weight, 0)
  for (const e of await residualsOf(worker)) assert.ok(e.every((x) => x === 0))
})

test('whatever finite gradients come, the residual stays finite', async () => {
  // P = [1, 1, 1, 1] for a query of [1, 0], and P̂·Qᵀ has the other sign than M in one place.
  const random: Random = (_use, _parameter, column, _step, length) =>
    Float32Array.from({ length }, (_, i) => (i === column ? 1 : 0))
  const worker = await createCompressor([[4, 2]], { ...ALL, rank: 1, random })
  for (const [x, absent] of [
    [2 ** 100 * (1 - 2 ** -24), 0],
    [2 ** 100, 1],
    [3.4e38, 2],
  ] as const) {
    await stepTogether([worker], [[Float32Array.of(1, x, 1, -x, 1, -x, 1, -x)]])
    for (const e of await residualsOf(worker)) assert.ok(e.every(Number.isFinite), String(e))
    assert.is(worker.stats.absent.gradient, absent)
    await worker.rescaleResidual(0)
  }
})

test.run()
