// Gossip's part of the reproduction: averages, slopes, small trainings, and the order of runs.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { ring, spectralGap } from '../../src/gossip/topology.ts'
import { gaussian } from '../../test/support/gaussian.ts'
import type { Claim } from '../experiment.ts'
import { type Averaging, average, bytesTo, slopeOf } from '../gossip/averaging.ts'
import { claimsOf } from '../gossip/claims.ts'
import { exponents } from '../gossip/consensus.ts'
import { AVERAGED, create, TRAINED, untuned } from '../gossip/methods.ts'
import { createRing, disagreement, meanOf } from '../gossip/net.ts'
import type { Outcome } from '../gossip/runs.ts'
import { finder, type Run, runsOf, searchOf, tuningsOf } from '../gossip/runs.ts'

const test = suite("the reproduction's gossip")

const AVERAGE: Averaging = {
  kind: 'averaging',
  nodes: 8,
  size: 16,
  seed: 1,
  gossip: untuned('plain'),
  iterations: 40,
  bytes: 1e9,
}

test('plain gossip falls by (1 − gap)² in an iteration, and every frame is counted', async () => {
  const { points } = await average(AVERAGE)
  const expected = 2 * Math.log(1 - spectralGap(ring(8)))
  assert.ok(Math.abs(slopeOf(points) / expected - 1) < 0.005, `${slopeOf(points)}, ${expected}`)
  const last = points.at(-1)!
  assert.is(last.iteration, 40)
  // Two neighbours, 256 floats, and at most 150 bytes around them.
  const each = last.bytes / 40 / 2
  assert.ok(each > 1024 && each < 1024 + 150, `${each} bytes`)
  assert.is(bytesTo(points, 0), null)
  assert.is(bytesTo(points, last.error), last.bytes)
})

test('an average ends with its bytes', async () => {
  const { points } = await average({ ...AVERAGE, gossip: untuned('power1'), bytes: 2000 })
  assert.ok(points.at(-1)!.bytes >= 1500 && points.at(-1)!.bytes < 2600, `${points.at(-1)!.bytes}`)
})

test('every method runs, and what its nodes hold has the same mean as before', async () => {
  for (const method of new Set([...AVERAGED, ...TRAINED])) {
    const models = Array.from({ length: 4 }, (_, node) => [
      gaussian(256, node + 1),
      gaussian(16, node + 9),
    ])
    const before = meanOf(models)
    const net = await createRing(create(untuned(method)), [[16, 16], [16]], models)
    net.iterate()
    assert.ok(net.bytes > 0, method)
    for (const [k, mean] of meanOf(models).entries()) {
      for (const [j, x] of mean.entries()) assert.ok(Math.abs(x - before[k]![j]!) < 1e-6, method)
    }
  }
})

test('disagreement is the mean square distance to the mean', () => {
  const models = [[Float32Array.of(1, 2)], [Float32Array.of(3, 6)]]
  assert.equal(meanOf(models), [Float64Array.of(2, 4)])
  assert.is(disagreement(models, meanOf(models)), 5)
})

test('finds the power of the gap that slopes go with, of each seed', () => {
  const slopes = [1, 2].flatMap((seed) =>
    [8, 16, 32].map((nodes) => {
      const gap = spectralGap(ring(nodes))
      return { method: 'power1' as const, nodes, gap, seed, slope: -0.3 * gap ** seed }
    }),
  )
  for (const [i, power] of exponents(slopes).entries()) assert.ok(Math.abs(power - i - 1) < 1e-9)
})

test('looks for a learning rate, then for γ, then runs what the tables have', () => {
  const loss = (run: Run) => (run.kind === 'training' ? Math.abs(run.rate - 4) : 0) + run.seed
  const results = (runs: readonly Run[]) =>
    finder(
      runs.map((run) => {
        const score = { loss: loss(run), accuracy: 0 }
        const end = { average: score, worst: score, distance: 0 }
        const trained = { parameters: 1, bytes: 1, steps: 1, end }
        return { run, result: run.kind === 'training' ? trained : { points: [] } }
      }),
    )
  const trainings = (runs: readonly Run[]) => runs.filter((run) => run.kind === 'training')
  const first = runsOf('full', results([]))
  assert.equal(trainings(first), searchOf('full'))
  const second = runsOf('full', results(first))
  const tried = [...tuningsOf('full', results(first)).values()].flat()
  assert.equal(trainings(second), [...searchOf('full'), ...tried])
  assert.ok(tried.every(({ rate, seed }) => rate === 4 && seed === 0))
  const third = runsOf('full', results(second))
  const finals = trainings(third).slice(trainings(second).length)
  assert.ok(finals.length > 0)
  assert.ok(
    finals.every(({ seed }) => seed > 0),
    'on seeds that tuning has not seen',
  )
  for (const nodes of [8, 16]) {
    for (const method of [undefined, ...TRAINED]) {
      const own = finals.filter((run) => run.nodes === nodes && run.gossip?.method === method)
      assert.ok(own.length >= 3, `${method} on ${nodes}`)
    }
  }
  const [usual, longer] = [...new Set(finals.map((run) => run.steps))]
  assert.is(longer, 4 * usual!)
  for (const run of finals.filter(({ steps }) => steps === longer)) {
    const twin = JSON.stringify({ ...run, steps: usual })
    assert.ok(
      finals.some((other) => JSON.stringify(other) === twin),
      `${twin} is run with fewer steps, too`,
    )
  }
  assert.is(runsOf('full', results(third)).length, third.length)
})

test('verdicts go by the seeds: as good, worse, or too few of them', () => {
  const outcome = (method: Outcome['gossip'], tuned: boolean, losses: number[]): Outcome => ({
    ...{
      nodes: 8,
      steps: 10,
      gossip: method,
      tuned,
      unbeaten: false,
      losses,
      worst: losses,
      bytes: 1,
      ends: [],
    },
  })
  const rows = (power: number[]) => [
    outcome(null, true, [1, 1.1, 1.2]),
    ...TRAINED.map((method) =>
      outcome(untuned(method), false, method === 'power1' ? power : [1, 1.1, 1.2]),
    ),
  ]
  const verdict = (power: number[]) =>
    claimsOf(rows(power)).find(({ claim }) => claim.startsWith('PowerGossip, 1 iteration'))!.verdict
  assert.is(verdict([1.05, 1.1, 1.3]), 'found')
  assert.is(verdict([1.3, 1.4, 1.5]), 'not found')
  assert.is(verdict([1.3, 1.4]), 'not decidable')
  const longer = rows([1.3, 1.4, 1.5]).map((row) => ({ ...row, steps: 40 }))
  const [{ verdict: both, numbers }] = claimsOf([...rows([1, 1, 1]), ...longer]).filter(
    ({ claim }) => claim.startsWith('PowerGossip, 1 iteration'),
  ) as [Claim]
  assert.is(both, 'not found')
  assert.match(
    numbers,
    /^ring of 8, 10 steps: .*: within the spread; ring of 8, 40 steps: .*: worse$/,
  )
  const unbeaten = claimsOf(
    rows([1, 1, 1]).map((row) => ({ ...row, unbeaten: row.gossip?.method === 'chocoSign' })),
  )
  const tuning = unbeaten.filter(({ claim }) => claim.includes('has to be tuned'))
  assert.equal(
    tuning.map(({ verdict }) => verdict),
    ['not found', 'not decidable', 'not decidable', 'not decidable'],
  )
})

test.run()
