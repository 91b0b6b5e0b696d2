// Pages of full runs from made-up results: the verdicts must follow from the results.
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { accordion } from '../accordion/index.ts'
import { better, noWorse, type Pair } from '../claims.ts'
import type { Claim, Done, Experiment } from '../experiment.ts'
import { quality } from '../quality/index.ts'
import { USUAL } from '../tasks.ts'
import type { Trained, Training } from '../training.ts'

const test = suite('verdicts of the reproduction')

const pair = (one: number[], other: number[], where = 'here'): Pair => ({
  where,
  one: { name: 'one', values: one },
  other: { name: 'other', values: other },
})
const low = [1, 1.1, 1.2]
const high = [1.3, 1.4, 1.5]
const wide = [1.1, 1.3, 1.6]

test('better: found if ranges do not touch in any setting, not found if they do so the other way', () => {
  const verdict = (...pairs: Pair[]) => better('', '', pairs).verdict
  assert.is(verdict(pair(low, high), pair(low, high)), 'found')
  assert.is(verdict(pair(low, high), pair(low, wide)), 'not decidable')
  assert.is(verdict(pair(low, high), pair(high, low)), 'not found')
  assert.is(verdict(pair([1, 1, 1.3], [1.3, 2, 2])), 'not decidable')
  assert.is(verdict(pair(low.slice(1), high)), 'not decidable', 'two seeds are too few')
  const diverged = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 3]
  assert.is(verdict(pair(low, diverged)), 'found')
})

test('no worse: not found where every seed is worse', () => {
  const verdict = (...pairs: Pair[]) => noWorse('', '', pairs).verdict
  assert.is(verdict(pair(low, high), pair(wide, low)), 'found')
  assert.is(verdict(pair(low, high), pair(high, low)), 'not found')
  assert.is(verdict(pair(high.slice(1), low)), 'not decidable')
})

test('numbers have names, means, half ranges and words', () => {
  const { numbers } = better('', '', [pair(low, high), pair(high, low, 'there')])
  const shown = ['one 1.100 ± 0.100, other 1.400 ± 0.100', 'one 1.400 ± 0.100, other 1.100 ± 0.100']
  assert.is(numbers, `here: ${shown[0]}: better; there: ${shown[1]}: worse`)
})

test('quality: tunes each on a grid, and judges what its best rates come to', () => {
  // In these losses rank 1 is worse and needs a rate below the grid, top K is within the spread of
  // rank 2, and training without feedback diverges.
  const loss = ({ way, learningRate, task, seed, workers }: Training) => {
    const best = (way.rank === 1 ? 1 / 16 : 1) * USUAL[task.name]
    const off = 0.2 * Math.abs(Math.log2(learningRate / best))
    const { method = 'powersgd', rank, errorFeedback } = way
    if (errorFeedback === 'none') return null
    const cost = rank === 1 ? 0.3 : rank === 2 && method === 'powersgd' ? 0.005 : 0
    const linear = method === 'powersgd' ? 0 : 0.001 * workers
    return 1.5 + off + cost + linear + 0.01 * seed
  }
  const { done, part } = complete(quality, loss)
  const rates = new Set(
    done
      .filter(({ run }) => run.way.rank === 1 && run.seed === 3)
      .map(({ run }) => run.learningRate),
  )
  assert.equal([...rates].sort(), [USUAL.images / 16, USUAL.text / 16].sort())
  const tried = done.filter(({ run }) => run.way.rank === 1 && run.task.name === 'text')
  const least = Math.min(...tried.map(({ run }) => run.learningRate))
  assert.is(least, USUAL.text / 32, 'a grid goes on until its best is not at its end')

  const verdictOf = verdictsIn(part.claims)
  assert.is(verdictOf('Rank 4 is as good'), 'found')
  assert.is(verdictOf('Rank 1 is worse'), 'found')
  assert.is(verdictOf('Error feedback is needed'), 'found')
  assert.is(verdictOf('At equal bytes sent: better than top K'), 'not decidable')
  assert.is(verdictOf('The learning rate that suits'), 'not found')
  assert.is(verdictOf('PowerSGD is linear'), 'found')
  assert.match(part.markdown, 'rank 2, no feedback | diverged | diverged')
  assert.match(
    part.markdown,
    /^\| rank 1 \| 1\.820 ± 0\.010 \| \+0\.296 \| 1\.820 .* \| \+0\.296 \|/m,
  )
  for (const [name, svg] of Object.entries(part.charts)) {
    assert.match(part.markdown, `(${name})`)
    assert.match(svg, /^<svg.*<\/svg>\n$/s)
    assert.not.match(svg, 'NaN')
  }
})

test('quality: workers matter if each seed with 16 is apart from each with 4', () => {
  const verdict = (more: number) => {
    const cost = ({ way, workers }: Training) => (way.rank === 4 && workers === 16 ? more : 0)
    const { part } = complete(quality, (run) => 1.5 + cost(run) + 0.01 * run.seed)
    return verdictsIn(part.claims)('PowerSGD is linear')
  }
  assert.is(verdict(0.015), 'found')
  assert.is(verdict(0.025), 'not found')
  assert.is(verdict(-0.025), 'not found')
})

test('accordion: says where the low rank loses, and what is saved', () => {
  const loss = ({ way, seed }: Training) =>
    1.5 + (way.rank === 1 ? 0.3 : 0) + (way.rank === 2 ? 0.001 : 0) + 0.01 * seed
  const bytes = ({ way }: Training) =>
    way.method === 'accordion' ? 1100 * way.low! : 1000 * (way.rank ?? 100)
  const { part } = complete(accordion, loss, bytes)
  const verdictOf = verdictsIn(part.claims)
  assert.is(verdictOf('Accordion is as good as the high rank'), 'found')
  assert.is(verdictOf('Where the low rank is worse'), 'found')
  assert.is(verdictOf('Accordion saves at least half'), 'found')
  assert.match(part.markdown, 'The low rank is worse than the high one')
  assert.match(part.markdown, /1 ↔ 4 \| 1\.520 ± 0\.010 .* 97 % \|/)
})

test.run()

/** All runs of a full command, each with the loss that `loss` gives it; null: diverged. */
function complete(
  experiment: Experiment<Training, Trained>,
  loss: (training: Training) => number | null,
  bytes = (_: Training) => 1000,
) {
  let done: Done<Training, Trained>[] = []
  for (;;) {
    const runs = experiment.runs('full', done)
    if (runs.length === done.length) break
    done = runs.map((run) => ({ run, result: made(loss(run), bytes(run)) }))
  }
  return { done, part: experiment.report(done, 'full') }
}

function made(loss: number | null, bytes: number): Trained {
  const score = loss === null ? null : { loss, accuracy: 0.5 }
  return {
    curve: score ? [1, 2].map((step) => ({ step, ...score })) : [],
    last: score,
    trainLoss: loss,
    sentBytes: bytes,
    receivedBytes: bytes,
    plannedSent: bytes,
    plannedReceived: bytes,
    compared: 10,
    meanRank: 2,
  }
}

function verdictsIn(claims: readonly Claim[]) {
  return (beginning: string) => {
    const found = claims.filter(({ claim }) => claim.startsWith(beginning))
    assert.is(found.length, 1, beginning)
    return found[0]!.verdict
  }
}
