// If a gradient or its factors are not finite, the worker is absent and its residual stays as it
// was.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { factored } from '../../src/factored.ts'
import {
  type Backend,
  createCompressor,
  type Gradient,
  type Options,
  type Random,
  wasm,
} from '../../src/index.ts'
import { wasm as threads } from '../../src/threads.ts'
import { sameFloats, within } from '../support/close.ts'
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
    // All of this model is in one unit, which is looked at as a whole.
    for (const [i, e] of before.entries()) sameFloats(after[i]!, e, 'residual')
  }
  assert.is(with_.stats.absent.gradient, 2)
  const [a] = (await stepTogether([with_], [gradientsOf(shapes, 3)])).updates
  const [b] = (await stepTogether([without], [gradientsOf(shapes, 3)])).updates
  for (const [i, want] of b!.entries()) assert.ok(distance(a![i]!, want) <= 1e-5 * norm(want))
})

/** Large enough for two threads, and several units; the last parameter is small. */
const SHAPES = [[300, 400], [40_000], [9, 7]]

const WAYS: Record<string, Options> = {
  arrays: {},
  'arrays of the session': { resident: true },
  'two threads': { backend: threads({ threads: 2 }) },
  'two threads, arrays of the session': { resident: true, backend: threads({ threads: 2 }) },
  factored: { method: factored(), errorFeedback: 'local' },
}

for (const [way, options] of Object.entries(WAYS)) {
  test(`an absent step leaves the residual as it was, whatever the gradient: ${way}`, async () => {
    // int8: raw parameters keep a residual, too.
    using worker = await createCompressor(SHAPES, { ...ALL, rank: 2, wire: 'int8', ...options })
    const take = async (scale: number, change: (gradients: Float32Array[]) => void) => {
      const gradients = gradientsOf(SHAPES, 2, scale)
      change(gradients)
      for (const [i, lent] of (options.resident ? worker.gradients : []).entries()) {
        lent.set(gradients[i]!)
      }
      const given: readonly Gradient[] = options.resident ? worker.gradients : gradients
      // Where the method takes factors, the first parameter is deltasᵀ · activations of one sample.
      const [first, ...others] = given as Float32Array[]
      const [activations, deltas] = [first!.slice(0, 400), new Float32Array(300).fill(1)]
      const sent = way === 'factored' ? [{ activations, deltas }, ...others] : given
      return stepTogether([worker], [sent], undefined, { shapes: SHAPES })
    }
    await take(1e-3, () => {})
    const before = await residualsOf(worker)
    const check = async (what: string) => {
      for (const [i, got] of (await residualsOf(worker)).entries()) {
        const e = before[i]!
        const most = e.reduce((a, x) => Math.max(a, Math.abs(x)), 0)
        assert.ok(most > 0)
        within(got, e, () => 1e-6 * most, `${what}: residual ${i}`)
      }
    }
    let refused = 0
    for (const [scale, parameter, at, value] of [
      [3e4, 0, 119_999, Number.POSITIVE_INFINITY],
      [1e20, 0, 0, Number.NEGATIVE_INFINITY],
      [1e29, 1, 20_000, 1e37],
      [3e4, 2, 62, Number.NaN],
      [1e-3, 2, 0, 2 ** 100],
    ] as const) {
      await take(scale, (gradients) => {
        if (way === 'factored' && parameter === 0) gradients[0]![0] = value
        else gradients[parameter]![at] = value
      })
      assert.is(worker.stats.absent.gradient, ++refused)
      await check(`${scale}, ${value} in ${parameter}`)
    }
    // What is sent stays below 2⁶⁴: the gradient is taken in, and withdrawn.
    await take(1e21, () => {})
    assert.is(worker.stats.absent.factors, 1)
    await check('factors')
    // The next gradient counts.
    const { outcomes } = await take(1e-3, () => {})
    assert.is(outcomes[0]!.counted, true)
  })
}

test('where the gradient is too large, too, a residual that is too large stays', async () => {
  const options = { ...ALL, rank: 1, errorFeedback: 'aggregated' } as const
  using worker = await createCompressor([[9, 7], [4]], options)
  await stepTogether([worker], [gradientsOf([[9, 7], [4]], 1)])
  for (let i = 0; i < 4; i++) await worker.rescaleResidual(2 ** 20)
  const before = await residualsOf(worker)
  const notFinite = gradientsOf([[9, 7], [4]], 3)
  notFinite[0]![0] = Number.NaN
  for (const gradients of [gradientsOf([[9, 7], [4]], 2, 1e21), notFinite]) {
    await stepTogether([worker], [gradients])
    assert.equal(await residualsOf(worker), before)
  }
  assert.is(worker.stats.dropped, 0)
  assert.equal(worker.stats.absent, { null: 0, weight: 0, gradient: 1, factors: 1 })
})

test('a residual that no step can send is dropped, whatever the feedback', async () => {
  for (const errorFeedback of ['local', 'aggregated'] as const) {
    using worker = await createCompressor([[9, 7], [4]], { ...ALL, rank: 1, errorFeedback })
    await stepTogether([worker], [gradientsOf([[9, 7], [4]], 1)])
    for (let i = 0; i < 4; i++) await worker.rescaleResidual(2 ** 20)
    for (let step = 2; step < 4; step++) {
      const { outcomes } = await stepTogether([worker], [gradientsOf([[9, 7], [4]], step)])
      assert.ok(outcomes[0]!.counted, errorFeedback)
    }
    assert.is(worker.stats.dropped, 1)
  }
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
