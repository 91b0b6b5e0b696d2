// `errorFeedback: 'aggregated'` on random fleets without joins: each worker keeps M − update, and
// the weighted sum of the residuals is the part that was never sent. This holds for any wire type
// and any loss of frames, which algorithms/textbook.ts does not model; textbook.test.ts compares
// the rest.
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import type { Compressor, Options } from '../../src/index.ts'
import { paper, pytorch } from '../../src/methods.ts'
import { tableOf } from '../simulation/expected-layout.ts'
import { gradientFor } from '../simulation/member.ts'
import { fullScenario as anyScenario, type Scenario, type Script } from '../simulation/scenario.ts'
import { within } from '../support/close.ts'
import { createFleet, exchange, residualsOf, stepTogether } from '../support/fleet.ts'
import { open } from '../support/frames.ts'
import { ALL, distance, norm } from '../support/norms.ts'
import { gradientsOf, numbers } from '../support/numbers.ts'

const numRuns = Number(process.env.LOWRANK_RUNS ?? 300)
const seed = Number(process.env.LOWRANK_SEED ?? 1905)

/** The most that rounding may lose in a step, relative to the largest number that took part. */
const LOST = 2e-6

/** Without frozen parameters, for which there is nothing to keep: frozen.test.ts. */
const fullScenario = anyScenario.map(
  (random): Scenario => ({
    ...random,
    shapes: random.shapes.map((spec) =>
      'shape' in spec && spec.rank === 'frozen' ? spec.shape : spec,
    ),
  }),
)

const test = suite('aggregated feedback')

for (const [name, options] of [
  ['by itself', {}],
  ["of the preset 'paper'", { method: paper() }],
  ["of the preset 'pytorch', of raw parameters too", { method: pytorch() }],
] as const) {
  test(`${name}: M − update stays with those who counted, all of M with the others`, async () => {
    await fc.assert(
      fc.asyncProperty(fullScenario, (s) =>
        simulate(s, { ...options, errorFeedback: 'aggregated' }),
      ),
      { seed, numRuns, includeErrorInReport: true },
    )
  })
}

for (const [name, options, steady, found] of [
  ['the local one', { errorFeedback: 'local' }, true, /residual/],
  ['weights that change', { errorFeedback: 'aggregated' }, false, /sum/],
] as const) {
  test(`the check finds ${name}`, async () => {
    const { failed, errorInstance } = await fc.check(
      fc.asyncProperty(fullScenario, (s) => simulate(s, options, steady)),
      { seed, numRuns, endOnFailure: true },
    )
    assert.ok(failed, 'it has passed')
    assert.match((errorInstance as Error).message, found)
  })
}

test('its updates are those of local feedback, to rounding', async () => {
  const shapes = [[24, 18], [7], [5, 40]]
  const [local, aggregated] = await Promise.all(
    (['local', 'aggregated'] as const).map((errorFeedback) =>
      createFleet(shapes, 3, { ...ALL, rank: 2, errorFeedback }),
    ),
  )
  for (let step = 0; step < 6; step++) {
    const gradients = [0, 1, 2].map((w) => gradientsOf(shapes, 10 * step + w))
    const a = (await stepTogether(local!, gradients, [1, 2, 3])).updates[0]!
    const b = (await stepTogether(aggregated!, gradients, [1, 2, 3])).updates[0]!
    for (const [i, want] of a.entries()) {
      assert.ok(distance(b[i]!, want) <= 1e-4 * norm(want), `step ${step}, parameter ${i}`)
    }
  }
  const apart = distance(
    (await residualsOf(local![0]!))[0]!,
    (await residualsOf(aggregated![0]!))[0]!,
  )
  assert.ok(apart > 1, 'but not the residuals')
})

test.run()

/** Simulates the scenario's gradients, lost frames and common aborts, with workers that stay. */
async function simulate(
  { shapes, shared, steps, wires, workers: count, seed: first }: Scenario,
  options: Options,
  steady = true,
): Promise<void> {
  const table = tableOf(shapes)
  const own = Array.from({ length: count }, (_, w) => ({ wire: wires[w % wires.length]! }))
  const workers = await createFleet(shapes, own, { ...shared, ...options })
  const chance = numbers(first)
  const weigh = () => workers.map(() => Math.fround(1 + 3 * Math.abs(chance())))
  let weights = weigh()
  const ledgers = table.map(({ length }) => new Ledger(length))
  for (const [t, script] of steps.entries()) {
    if (!steady) weights = weigh()
    const gradients = workers.map((_, w) =>
      gradientFor(script.fates[w % script.fates.length]!, table, first + 100 * t + w),
    )
    const before = await Promise.all(workers.map(residualsOf))
    const update = table.map(({ length }) => new Float32Array(length))
    const { taken, outcomes } = await stepOf(workers, weights, gradients, update, script)
    const after = await Promise.all(workers.map(residualsOf))
    const exact = t < (shared.startCompressingAfter ?? 0)
    for (const [i, ledger] of ledgers.entries()) {
      const u = update[i]!
      ledger.see(u)
      ledger.give(u, outcomes[0]?.weight ?? 0)
      for (const [w, e] of before.entries()) {
        const g = gradients[w]?.[i] ?? null
        ledger.see(e[i]!)
        if (g?.every(Number.isFinite)) ledger.see(g) // e + g rounds even if g is taken back
        if (g && taken[w]) ledger.give(g, -weights[w]!)
        const raw = workers[w]!.stats.ranks[i] === 0
        if (exact || (raw && options.method?.name !== 'pytorch')) continue
        const kept = e[i]!.map((x, j) => {
          const m = x + (g && taken[w] ? g[j]! : 0)
          return outcomes[w]?.counted ? m - u[j]! : m
        })
        const lost = LOST * ledger.largest
        within(
          after[w]![i]!,
          kept,
          () => lost,
          `residual of worker ${w}, step ${t}, parameter ${i}`,
        )
      }
      ledger.balance(
        after.map((e) => e[i]!),
        weights,
        t,
      )
    }
  }
}

/** Takes one step and writes its update; without outcomes, all workers have aborted. */
async function stepOf(
  workers: readonly Compressor[],
  weights: readonly number[],
  gradients: readonly (Float32Array[] | null)[],
  update: readonly Float32Array[],
  { fates, abort }: Script,
) {
  const fate = (w: number) => fates[w % fates.length]!
  const own = (w: number) => (fate(w).gradient === 'weightless' ? 0 : weights[w]!)
  const { frames, means } = await exchange(
    workers,
    gradients,
    workers.map((_, w) => own(w)),
    {
      // The first worker's frame always arrives.
      arrives: (w, round) => w === 0 || !((fate(w).lost >> round) & 1),
      rounds: abort?.who === 'all' ? abort.round : Infinity,
    },
  )
  const taken = frames[0]!.map((frame) => open(frame).weight > 0)
  if (means.length < frames.length) {
    for (const worker of workers) worker.abort()
    return { taken, outcomes: [] }
  }
  const outcomes = await Promise.all(workers.map((worker) => worker.decompress(update)))
  return { taken, outcomes }
}

/** Σ weight·gradient − Σ weight·update of one parameter, which the residuals must add up to. */
class Ledger {
  readonly #pending: Float64Array
  /** the largest number that took part */
  largest = 0

  constructor(length: number) {
    this.#pending = new Float64Array(length)
  }

  see(x: Float32Array): void {
    for (const value of x) this.largest = Math.max(this.largest, Math.abs(value))
  }

  give(x: Float32Array, weight: number): void {
    for (const [j, value] of x.entries()) this.#pending[j]! -= weight * value
  }

  balance(residuals: readonly Float32Array[], weights: readonly number[], t: number): void {
    const sum = this.#pending.map((_, j) =>
      residuals.reduce((s, e, w) => s + weights[w]! * e[j]!, 0),
    )
    const all = weights.reduce((a, b) => a + b, 0)
    const lost = LOST * (t + 1) * all * this.largest
    within(sum, this.#pending, () => lost, `weighted sum of the residuals, step ${t}`)
  }
}
