// Parameters that are frozen, gradients that are missing, and updates that are not written.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Dense, Session } from '../../../src/backend.ts'
import { bytesOf } from '../../../src/bytes.ts'
import { FROZEN, layoutOf, specsOf } from '../../../src/layout.ts'
import { wasm } from '../../../src/threads.ts'
import { same } from '../../support/close.ts'
import { gaussian } from '../../support/gaussian.ts'

const SPECS = specsOf([[300, 200], [7], [40, 512], [9], [40, 50]])
/** The second matrix and the second raw tensor are frozen. */
const RANKS = [2, 0, FROZEN, FROZEN, 3]
const THAWED = [2, 0, 2, 0, 3]

const frozen = layoutOf(SPECS, RANKS)
const thawed = layoutOf(SPECS, THAWED)
const left = frozen.parameters.filter((one) => !one.frozen).map(({ index }) => index)

/** The layout of the parameters that are not frozen, alone. */
const alone = layoutOf(
  left.map((i) => SPECS[i]!),
  left.map((i) => RANKS[i]!),
)

const test = suite('frozen and missing')

for (const threads of [1, 2]) {
  for (const resident of [false, true]) {
    const name = `${resident ? 'resident' : 'foreign'}, ${threads} threads`

    test(`frozen parameters are as if they were not there: ${name}`, async () => {
      const with_ = await wasm({ threads }).open(frozen, { resident })
      const without = await wasm({ threads }).open(alone)
      for (const accumulate of [false, true]) {
        const gradients = arraysOf(with_, 1)
        const others = left.map((i) => gradients[i]!.slice())
        const got = await step(with_, frozen, gradients, gradients, accumulate)
        const want = await step(without, alone, others, others, accumulate)
        same(got.left, want.left)
        same(got.right, want.right)
        for (const [k, i] of left.entries()) {
          same(got.residuals[i]!, want.residuals[k]!)
          same(gradients[i]!, others[k]!)
        }
        for (const { index, length } of frozen.parameters.filter((one) => one.frozen)) {
          same(got.residuals[index]!, new Float32Array(length))
          const kept = accumulate ? numbers(length, 1 + index) : new Float32Array(length)
          same(gradients[index]!, kept)
          assert.is(got.norms[index], 0)
        }
      }
      with_.dispose()
      without.dispose()
    })

    test(`frozen parameters may be anything, even NaN or null: ${name}`, async () => {
      const session = await wasm({ threads }).open(frozen, { resident })
      const gradients: (Dense | null)[] = arraysOf(session, 1)
      gradients[2]!.fill(Number.NaN)
      gradients[3] = null
      assert.is(await session.accumulateProject(gradients), true)
      await session.withdraw(gradients)
      for (const e of await residualsOf(session, frozen)) assert.ok(e.every((x) => x === 0))
      session.dispose()
    })

    test(`freezing drops the residual, thawing begins with zero: ${name}`, async () => {
      const session = await wasm({ threads }).open(thawed, { resident })
      const e = SPECS.map(({ length }, i) => gaussian(length, i))
      session.write('residual', bytesOf(Float32Array.from(e.flatMap((x) => [...x]))))
      session.rearrange(frozen)
      session.rearrange(thawed)
      for (const [i, got] of (await residualsOf(session, thawed)).entries()) {
        same(got, left.includes(i) ? e[i]! : new Float32Array(e[i]!.length))
      }
      session.rearrange(frozen)
      session.write('residual', bytesOf(Float32Array.from(e.flatMap((x) => [...x]))))
      for (const [i, got] of (await residualsOf(session, frozen)).entries()) {
        same(got, left.includes(i) ? e[i]! : new Float32Array(e[i]!.length))
      }
      session.dispose()
    })

    test(`a missing gradient is zeros, a missing place is not written: ${name}`, async () => {
      for (const missing of [[0], [1], [2, 4], [0, 1, 2, 3, 4]]) {
        for (const accumulate of [false, true]) {
          const session = await wasm({ threads }).open(thawed, { resident })
          const whole = await wasm({ threads }).open(thawed)
          const e = gaussian(thawed.denseFloats, 7)
          session.write('residual', bytesOf(e))
          whole.write('residual', bytesOf(e))
          const arrays = arraysOf(session, 1)
          const before = arrays.map((x) => x.slice())
          const given = arrays.map((x, i) => (missing.includes(i) ? null : x))
          const zeroed = before.map((x, i) => (missing.includes(i) ? x.slice().fill(0) : x.slice()))
          const got = await step(session, thawed, given, given, accumulate)
          const want = await step(whole, thawed, zeroed, zeroed, accumulate)
          same(got.left, want.left)
          same(got.right, want.right)
          for (const [i, array] of arrays.entries()) {
            same(got.residuals[i]!, want.residuals[i]!)
            same(array, missing.includes(i) ? before[i]! : zeroed[i]!)
          }
          session.dispose()
          whole.dispose()
        }
      }
    })
  }
}

test('a model whose parameters are all frozen', async () => {
  const layout = layoutOf(
    SPECS,
    SPECS.map(() => FROZEN),
  )
  for (const threads of [1, 2]) {
    const session = await wasm({ threads }).open(layout, { resident: true })
    const gradients = arraysOf(session, 1)
    await step(session, layout, gradients, gradients, false)
    for (const update of gradients) assert.ok(update.every((x) => x === 0))
    session.dispose()
  }
})

test.run()

interface Trace {
  left: Dense
  right: Dense
  norms: Float64Array
  residuals: Dense[]
}

/** All phases of one step, with factors from fixed seeds. */
async function step(
  session: Session,
  layout: typeof frozen,
  gradients: readonly (Dense | null)[],
  into: readonly (Dense | null)[],
  accumulate: boolean,
): Promise<Trace> {
  session.write('qHat', bytesOf(gaussian(layout.rightFloats, 21)))
  assert.is(await session.accumulateProject(gradients), true)
  const left = new Float32Array(layout.leftFloats)
  await session.read(['left'], left)
  await session.backproject()
  const right = new Float32Array(layout.rightFloats)
  await session.read(['qLocal'], right)
  session.write('qMean', bytesOf(gaussian(layout.rightFloats, 22)))
  const raw = bytesOf(gaussian(layout.rawFloats, 23))
  await session.settle(true, raw, { into, scale: -0.5, accumulate })
  return {
    left,
    right,
    norms: await session.norms(),
    residuals: await residualsOf(session, layout),
  }
}

async function residualsOf(session: Session, layout: typeof frozen): Promise<Dense[]> {
  const all = new Float32Array(layout.denseFloats)
  await session.read(['residual'], all)
  let end = 0
  return layout.parameters.map(({ length }) => {
    end += length
    return all.slice(end - length, end)
  })
}

/** Gradients in the session's memory if it lends it; otherwise in arrays of their own. */
function arraysOf(session: Session, seed: number): Dense[] {
  return SPECS.map(({ length }, i) => {
    const values = numbers(length, seed + i)
    const lent = session.gradients?.[i]
    lent?.set(values)
    return lent ?? values
  })
}

function numbers(length: number, seed: number): Dense {
  return gaussian(length, 100 + seed)
}
