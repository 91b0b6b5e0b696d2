// The model of a step's time, checked by hand; where compression ends to pay; the verdicts about
// time.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { claimsOf } from '../pays/claims.ts'
import type { MeasuredCost, WayName } from '../pays/costs.ts'
import { report } from '../pays/report.ts'
import { breakEven, type Cost, lineMs, savedMs, stepMs } from '../pays/steptime.ts'

const test = suite('reproduce: a step’s time')

const dense: Cost = {
  ...{ rounds: 1, sent: 1_000_000, received: 1_500_000 },
  ...{ sendMs: 2, updateMs: 3, aggregateMs: 5 },
}
const small: Cost = {
  ...{ rounds: 2, sent: 10_000, received: 15_000 },
  ...{ sendMs: 8, updateMs: 9, aggregateMs: 1 },
}

test('a step is computing, compressing, the way there and back, and the bytes', () => {
  const line = { mbits: 10, delayMs: 30 }
  assert.is(lineMs(dense, line), 60 + 2000)
  assert.is(lineMs(small, line), 120 + 20)
  assert.is(stepMs(100, dense, line), 100 + 10 + 2060)
  assert.is(stepMs(100, small, line), 100 + 18 + 140)
  assert.is(savedMs(small, dense, line), 2170 - 258)
})

test('at the break-even nothing is saved; more bandwidth makes it a loss', () => {
  for (const delayMs of [0, 20, 100]) {
    const mbits = breakEven(small, dense, delayMs)
    const saved = (factor: number) => savedMs(small, dense, { mbits: factor * mbits, delayMs })
    assert.ok(Math.abs(saved(1)) < 1e-9, `${saved(1)}`)
    assert.ok(saved(0.9) > 0 && saved(1.1) < 0)
  }
  // 8 · 2.475 MB ÷ (8 ms of compression + 40 ms of a second round)
  assert.ok(Math.abs(breakEven(small, dense, 20) - 19_800_000 / 48_000) < 1e-9)
})

test('what is faster without any bytes pays always, what sends more and takes longer never', () => {
  assert.is(breakEven({ ...small, rounds: 1, sendMs: 0, updateMs: 0 }, dense, 20), Infinity)
  assert.is(breakEven({ ...dense, sendMs: 3 }, dense, 0), 0)
  assert.is(breakEven({ ...dense, sendMs: 1 }, dense, 0), Infinity)
})

/** Costs of all models, with these times of compression. */
function costs(ms: Partial<Record<WayName, number>>, spreadMs = 1) {
  return (['demo', 'ResNet-18', 'LSTM'] as const).flatMap((model) =>
    (Object.entries(ms) as [WayName, number][]).map(([way, sendMs]) => {
      const bytes = way === 'uncompressed' ? 50_000_000 : 500_000
      const cost: MeasuredCost = {
        ...{ rounds: 1, sent: bytes, received: bytes, sendMs, updateMs: 0, aggregateMs: 0 },
        ...{ spreadMs, samples: 3 },
      }
      return { model, way, workers: 4, cost }
    }),
  )
}

test('claims: at 10 Gbit/s, by more than times vary by', () => {
  // Uncompressed, 100 MB take 80 ms on the line.
  const ranks = { uncompressed: 50, 'rank 1': 60, 'rank 2': 70, 'rank 4': 80 }
  const others = {
    ...{ 'sign + norm': 400, 'top k, 1/32': 300, 'top k, 1/136': 200, 'random k, rank 2': 100 },
  }
  const verdicts = (all: ReturnType<typeof costs>) => claimsOf(all).map(({ verdict }) => verdict)
  assert.equal(verdicts(costs({ ...ranks, ...others })), ['found', 'found', 'found'])
  const [no, open] = ['not found', 'not decidable']
  assert.equal(verdicts(costs({ ...ranks, ...others, 'rank 4': 500 })), [no, 'found', 'found'])
  assert.equal(verdicts(costs({ ...ranks, ...others, 'sign + norm': 50 })), ['found', no, 'found'])
  assert.equal(verdicts(costs({ ...ranks, ...others }, 1000)), [open, open, open])
  assert.equal(verdicts(costs(ranks)), ['found', open, open])
})

test('the page says what was measured, and the model’s figure beside each trip', () => {
  const { markdown, charts, figures } = report({
    compute: { gradientMs: 40, optimiserMs: 2, spreadMs: 1, samples: 9 },
    costs: costs({ uncompressed: 50, 'rank 4': 80 }),
    trips: [
      {
        trip: { way: 'rank 4', workers: 2, steps: 4, mbits: 100, delayMs: 20 },
        stepsMs: [241, 250, 245],
      },
    ],
  })
  // 42 + 80 ms of processors, 40 of delay, 80 of bytes.
  assert.match(markdown, '| 100 Mbit/s, 20 ms, rank 4 | 242 | 245 | 241 … 250 | 1.01 |')
  assert.match(charts['pays-speedup.svg']!, /^<svg [^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/)
  assert.not.match(`${markdown}${JSON.stringify(figures)}`, /NaN|Infinity|undefined|null/)
})

test.run()
