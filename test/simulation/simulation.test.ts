// Random fleets: for each worker gradients = what was sent + residual, and the update is the
// weighted mean of what was sent. Mutants, each with one defect, must fail.
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { fromPayload, payload } from '../../src/frames.ts'
import { sameBytes } from '../support/close.ts'
import type { Mutation } from './fleet.ts'
import { mutants } from './mutants.ts'
import { type Scenario, scenario } from './scenario.ts'
import { simulate } from './simulate.ts'

// For long hunts: LOWRANK_RUNS=20000 LOWRANK_SEED=7 node --import tsx
// test/simulation/simulation.test.ts
const numRuns = Number(process.env.LOWRANK_RUNS ?? 800)
const seed = Number(process.env.LOWRANK_SEED ?? 1905)

const test = suite('simulation')

test('the ledger of every worker balances, and the update is the mean of what counted', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, (s) => simulate(s)),
    { seed, numRuns, includeErrorInReport: true },
  )
})

test('the same where an engine sums by itself, and its means name no senders', async () => {
  // Every sum has all workers' frames: MPI_Allreduce has no absent workers, only absent gradients.
  const calm = scenario.map(
    (random): Scenario => ({
      ...random,
      wires: ['f32'],
      weighing: 'random',
      steps: random.steps.map((script) => ({
        ...script,
        abort: script.abort && { ...script.abort, who: 'all' },
        fates: script.fates.map((fate) => ({
          ...fate,
          // Sums of float32 may overflow where means do not.
          gradient: ['huge', 'overflowing'].includes(fate.gradient) ? 'normal' : fate.gradient,
          lost: 0,
          late: null,
        })),
      })),
    }),
  )
  const sum: Mutation = { aggregate: summed, anonymous: true, roundings: 2 * 8 + 4 }
  await fc.assert(
    fc.asyncProperty(calm, (s) => simulate(s, sum)),
    { seed, numRuns: Math.ceil(numRuns / 10), includeErrorInReport: true },
  )
})

/** Sums as an engine does: in float32, one worker after another. */
function summed(frames: readonly Uint8Array[]): Uint8Array {
  const payloads = frames.map(payload)
  const sum = payloads.reduce((total, part) => total.map((x, i) => x + part[i]!))
  const means = frames.map((frame) => fromPayload(sum, frame, frames.length))
  for (const mean of means) sameBytes(mean, means[0]!, 'the mean at another worker')
  return means[0]!
}

for (const { name, scenario: fixed, bad, good, found } of mutants) {
  const fleets = scenario.map((random): Scenario => ({ ...random, ...fixed }))
  const check = (mutation: Mutation) =>
    fc.check(
      fc.asyncProperty(fleets, (s) => simulate(s, mutation)),
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
