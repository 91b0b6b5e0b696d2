// Mutated inputs at every door, and schedules of faults. `npm run fuzz` takes other counts and seeds.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
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
