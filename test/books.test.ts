// DESIGN, rule 1: nothing is lost, and the update is what was taken. Both halves on random fleets,
// and defects that must not pass.
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { planted } from './books/plants.ts'
import { type Plant, play } from './books/play.ts'
import { type Scenario, scenario } from './books/scenario.ts'

// For long hunts: LOWRANK_RUNS=20000 LOWRANK_SEED=7 node --import tsx test/books.test.ts
const numRuns = Number(process.env.LOWRANK_RUNS ?? 500)
const seed = Number(process.env.LOWRANK_SEED ?? 1905)

const test = suite('books')

test('balance for every worker, and the update is the mean of what counted', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, (s) => play(s)),
    { seed, numRuns, includeErrorInReport: true },
  )
})

for (const { name, scenario: fixed, bad, good, found } of planted) {
  const fleets = scenario.map((random): Scenario => ({ ...random, ...fixed }))
  const check = (plant: Plant) =>
    fc.check(
      fc.asyncProperty(fleets, (s) => play(s, plant)),
      { seed, numRuns: 10, endOnFailure: true },
    )

  test(`find ${name}`, async () => {
    const { failed, errorInstance } = await check(bad)
    assert.ok(failed, 'the defect has passed')
    assert.match((errorInstance as Error).message, found)
  })

  test(`pass without ${name}`, async () => {
    const { errorInstance } = await check(good)
    if (errorInstance) throw errorInstance
  })
}

test.run()
