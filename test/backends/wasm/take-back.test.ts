// A gradient that is refused or withdrawn leaves M as it was, whatever its size and wherever it is.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Dense, Layout, Session } from '../../../src/backend.ts'
import { bytesOf } from '../../../src/bytes.ts'
import { createLayout } from '../../../src/kernels.ts'
import { wasm } from '../../../src/threads.ts'
import { same, within } from '../../support/close.ts'
import { gaussian } from '../../support/gaussian.ts'

const test = suite('taking back')

// Several units: wider than a tile of 2¹⁵ floats, taller than one, narrow; raw in one and in two.
const LAYOUT = createLayout([[6, 40_000], [9], [300, 7, 5, 5], [11, 6], [40_000], [30, 1024]], {
  rank: 3,
  minCompressionRate: 0,
})

/** Where gradients lie: in the caller's arrays, in the session's, or some in each. */
const PLACES = ['foreign', 'resident', 'mixed'] as const

/** Factors of e and of g. |gaussian| is below 6, and 2¹⁰⁰ is 1.3e30. */
const SCALES: readonly (readonly [number, number])[] = [
  [0, 1],
  [0, 1e29],
  [1, 1e-3],
  [1, 1],
  [1, 2],
  [1e-3, 3e4],
  [1e-3, 1e20],
  [1e-12, 1e29],
  [2 ** -140, 2 ** -135],
  [1e20, 1],
  [1e28, 1e29],
]

/** One element that is refused: parameter, element from the end, value. */
const BAD: readonly (readonly [number, number, number])[] = [
  [0, 240_000, Number.POSITIVE_INFINITY],
  [0, 1, -(2 ** 100)],
  [1, 3, Number.NEGATIVE_INFINITY],
  [2, 20_000, 1e37],
  [4, 1, Number.NaN],
]

const E = LAYOUT.parameters.map(({ length }, i) => gaussian(length, i))
const G = LAYOUT.parameters.map(({ length }, i) => gaussian(length, 10 + i))

for (const threads of [1, 2]) {
  for (const place of PLACES) {
    test(`${place} arrays, ${threads} threads`, async () => {
      const session = await wasm({ threads }).open(LAYOUT, { resident: true })
      const lent = session.gradients!
      const isLent = (i: number) => place === 'resident' || (place === 'mixed' && i % 2 === 0)
      const gradients = LAYOUT.parameters.map(({ length }, i) =>
        isLent(i) ? lent[i]! : new Float32Array(length),
      )
      session.write('qHat', bytesOf(gaussian(LAYOUT.rightFloats, 20)))
      for (const [k, [inE, inG]] of SCALES.entries()) {
        const e = E.map((x) => x.map((value) => value * inE))
        const g = G.map((x) => x.map((value) => value * inG))
        const all = Float32Array.from(e.flatMap((x) => [...x]))
        for (const bad of [BAD[(k + threads) % BAD.length]!, null]) {
          session.write('residual', bytesOf(all)) // before each, so that errors do not add up
          for (const [i, gradient] of gradients.entries()) gradient.set(g[i]!)
          const sent = g.map((x) => x.slice())
          if (bad) {
            const [i, fromEnd, value] = bad
            gradients[i]![gradients[i]!.length - fromEnd] = value
            sent[i]![sent[i]!.length - fromEnd] = value
          }
          assert.is(await session.accumulateProject(gradients), bad === null)
          if (bad === null) {
            const sum = e.map((x, i) => x.map((value, j) => value + sent[i]![j]!))
            for (const [i, m] of (await residualsOf(session)).entries()) same(m, sum[i]!)
            await session.withdraw(gradients)
          }
          const what = `e × ${inE}, g × ${inG}, ${bad}`
          for (const [i, got] of (await residualsOf(session)).entries()) {
            // To 1e-6 of the largest of each parameter here; those of units are no smaller.
            const most = e[i]!.reduce((a, x) => Math.max(a, Math.abs(x)), 0)
            within(got, e[i]!, () => 1e-6 * most, what)
            same(gradients[i]!, sent[i]!)
          }
        }
      }
      session.dispose()
    })
  }
}

test('a small parameter beside a large one in its unit', async () => {
  const layout = createLayout([[5], [5], [5]], {})
  const session = await wasm({ threads: 1 }).open(layout)
  const e = [1, 1e-9, 0].map((x) => new Float32Array(5).fill(x))
  session.write('residual', bytesOf(Float32Array.from(e.flatMap((x) => [...x]))))
  const gradients = [1, 1, 1].map((x) => new Float32Array(5).fill(x))
  assert.is(await session.accumulateProject(gradients), true)
  await session.withdraw(gradients)
  for (const [i, got] of (await residualsOf(session, layout)).entries()) same(got, e[i]!)
})

test('what was kept for one gradient does not serve the next', async () => {
  const layout = createLayout([[40_000], [40_000]], {})
  const session = await wasm({ threads: 1 }).open(layout)
  const of = (value: number) =>
    layout.parameters.map(({ length }) => new Float32Array(length).fill(value))
  session.write('residual', bytesOf(new Float32Array(layout.denseFloats).fill(1e-3)))
  assert.is(await session.accumulateProject(of(1000)), true) // M is large now
  assert.is(await session.accumulateProject(of(1)), true)
  await session.withdraw(of(1))
  for (const got of await residualsOf(session, layout)) within(got, of(1000)[0]!, () => 1e-3)
  assert.is(await session.accumulateProject(of(1e9)), true)
  await session.withdraw(of(1e9))
  for (const got of await residualsOf(session, layout)) within(got, of(1000)[0]!, () => 1e-3)
})

test.run()

async function residualsOf(session: Session, layout: Layout = LAYOUT): Promise<Dense[]> {
  const all = new Float32Array(layout.denseFloats)
  await session.read(['residual'], all)
  let end = 0
  return layout.parameters.map(({ length }) => {
    end += length
    return all.slice(end - length, end)
  })
}
