// Mutated inputs at every door, and schedules of faults. `npm run fuzz` takes other counts and seeds.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Backend } from '../../src/backend.ts'
import { randomBlock, topK } from '../../src/baselines.ts'
import { wasm } from '../../src/index.ts'
import { undecoded } from '../algorithms/baselines/mutants.ts'
import { simulateMethod } from '../simulation/any-method.ts'
import { PLAIN, type Scenario } from '../simulation/scenario.ts'
import { errorOf } from '../support/errors.ts'
import { huntInputs, InputError } from './hunt.ts'
import { mutants } from './mutants.ts'
import { huntSchedules } from './schedules.ts'
import { DOORS } from './target.ts'

const SEED = 1905
const INPUTS = 100_000
const SCHEDULES = 1000
/** Each part is a test of its own, for the runner ends a file that is silent for long. */
const PARTS = 20

const test = suite('fuzz')

let accepted = 0

for (let part = 0; part < PARTS; part++) {
  const at = (count: number) => (part * count) / PARTS
  test(`inputs ${at(INPUTS)} to ${at(INPUTS) + INPUTS / PARTS - 1}`, async () => {
    const found = await huntInputs({
      from: at(INPUTS),
      inputs: at(INPUTS) + INPUTS / PARTS,
      seed: SEED,
    })
    assert.is(found.inputs, INPUTS / PARTS)
    accepted += found.accepted
  })

  test(`schedules ${at(SCHEDULES)} to ${at(SCHEDULES) + SCHEDULES / PARTS - 1}`, () =>
    huntSchedules(SEED, at(SCHEDULES), at(SCHEDULES) + SCHEDULES / PARTS))
}

test('many mutants are accepted, and many are not', () => {
  const share = accepted / INPUTS
  assert.ok(share > 0.2 && share < 0.8, `${accepted} of ${INPUTS} accepted`)
})

for (const { name, target, doors, found } of mutants) {
  test(`find ${name}`, async () => {
    const error = await failureOf(target, doors)
    assert.instance(error, InputError, 'the defect has passed')
    const { message, index, seed } = error as InputError
    assert.match(message, found)
    // The seed and the index repeat it.
    const again = await failureOf(target, doors, index)
    assert.is((again as Error | null)?.message, message, `input ${index} of seed ${seed}, alone`)
  })
}

const PLAYED = { ...PLAIN, transport: 'tree' } as const
const SCENARIO: Scenario = {
  ...{ seed: 3, shapes: [[6, 9], [5]], shared: {}, wires: ['int8', 'bf16'], workers: 3 },
  ...{ weighing: 'random', steps: [PLAYED, PLAYED, PLAYED] },
}
for (const [name, method] of [
  ['topK', topK({ ratio: 0.3 })],
  ['randomBlock', randomBlock({ rank: 2 })],
] as const) {
  test(`find a residual of ${name} that was not decoded`, async () => {
    await simulateMethod(name, SCENARIO, { method })
    const error = await errorOf(() => simulateMethod(name, SCENARIO, { method: undecoded(method) }))
    assert.match(error.message, /step \d: update \d: \[\d+\]: got/)
  })
}

test('find a residual that loses what an absent worker had', async () => {
  const lossy = { ...PLAIN.fates[0]!, lost: 1 }
  const steps = [{ ...PLAYED, fates: [PLAIN.fates[0]!, lossy] }]
  const drops: Backend = {
    name: 'altered',
    async open(...given) {
      const session = await wasm().open(...given)
      const { settle } = session
      session.settle = (_, raw, sink) => settle.call(session, true, raw, sink)
      return session
    },
  }
  await simulateMethod('full steps', { ...SCENARIO, steps })
  const error = await errorOf(() =>
    simulateMethod('full steps', { ...SCENARIO, steps }, { backend: drops }),
  )
  assert.match(error.message, /keeps all/)
})

test.run()

/** The first failure among the inputs of one target, or that of the input `only`. */
async function failureOf(target: string, doors: object, only?: number): Promise<unknown> {
  const alone = only === undefined ? {} : { only }
  try {
    const hunt = { inputs: 4000, seed: SEED, target, doors: { ...DOORS, ...doors }, ...alone }
    await huntInputs(hunt)
    return null
  } catch (error) {
    return error
  }
}
