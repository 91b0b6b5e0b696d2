// The papers' claims about trainings, with verdicts from the trainings here.
import { better, noWorse, type Pair, type Seeds } from '../claims.ts'
import type { Claim } from '../experiment.ts'
import { count } from '../markdown.ts'
import { compare, LEAST_SEEDS, show } from '../spread.ts'
import type { Search } from './contestants.ts'
import type { Outcome } from './found.ts'
import { type Find, lossOf } from './found.ts'

const POWERSGD = 'Vogels et al. 2019'

export function claimsOf(
  outcomes: readonly Outcome[],
  searches: readonly Search[],
  find: Find,
): Claim[] {
  /** Pairs of the two in each setting that has both. */
  const pairs = (name: string, other: string): Pair[] =>
    outcomes.flatMap((one) => {
      const { task, workers } = one
      const held = outcomes.find(
        (outcome) => outcome.name === other && outcome.task === task && outcome.workers === workers,
      )
      if (one.name !== name || held === undefined) return []
      const where = `${task.name}, ${count(task.steps)} steps, ${workers} workers`
      return [{ where, one: seedsOf(one), other: seedsOf(held) }]
    })
  const claims: [string, string, typeof better, string, string][] = [
    [
      'Rank 4 is as good as uncompressed gradients',
      `${POWERSGD}, Table 3`,
      noWorse,
      'rank 4',
      'uncompressed',
    ],
    [
      'Rank 2 is as good as uncompressed gradients (there: of the image classifier; the language model loses a little)',
      `${POWERSGD}, Table 3`,
      noWorse,
      'rank 2',
      'uncompressed',
    ],
    [
      'Rank 1 is worse than uncompressed gradients',
      `${POWERSGD}, Table 3`,
      better,
      'uncompressed',
      'rank 1',
    ],
    ['A higher rank is better: 4 than 1', `${POWERSGD}, Table 3`, better, 'rank 4', 'rank 1'],
    [
      'Error feedback is needed: without it, rank 2 is worse, with a learning rate of its own, too',
      `${POWERSGD}, Table 1 and Figure 2`,
      better,
      'rank 2',
      'rank 2, no feedback',
    ],
    [
      'Warm start is better than a fresh Q in each step',
      `${POWERSGD}, Table 2`,
      better,
      'rank 2',
      'rank 2, no warm start',
    ],
    [
      'One step of power iteration with warm start is as good as the best approximation (here: as four steps, which come near it)',
      `${POWERSGD}, Table 2`,
      noWorse,
      'rank 2',
      'rank 2, 4 iterations',
    ],
    [
      'At equal bytes: better than random block',
      `${POWERSGD}, Table 4`,
      better,
      'rank 2',
      'random block',
    ],
    ['At equal bytes: better than random K', `${POWERSGD}, Table 4`, better, 'rank 2', 'random K'],
    ['At equal bytes sent: better than top K', `${POWERSGD}, Table 4`, better, 'rank 2', 'top K'],
    [
      'At about equal bytes sent (there at four times fewer): no worse than sign + norm',
      `${POWERSGD}, Table 4`,
      noWorse,
      'rank 2',
      'sign + norm',
    ],
    [
      'Alternating half-steps, with half of the bytes, are as good as full steps',
      'ACP-SGD, Zhang et al. 2023',
      noWorse,
      'half-steps, rank 2',
      'rank 2',
    ],
    [
      'A fixed Q is as good as a warm start',
      'DALL·E, Ramesh et al. 2021, Appendix E',
      noWorse,
      'rank 2, fixed Q',
      'rank 2',
    ],
    [
      'A fresh Q in each step is worse than a fixed one',
      'DALL·E, Ramesh et al. 2021, Appendix E',
      better,
      'rank 2, fixed Q',
      'rank 2, no warm start',
    ],
  ]
  const compared = claims
    .map(([claim, source, judge, one, other]) => ({
      claim,
      source,
      judge,
      held: pairs(one, other),
    }))
    .filter(({ held }) => held.length > 0) // a quick run leaves out some contestants
    .map(({ claim, source, judge, held }) => judge(claim, source, held))
  return [...compared, ...sameRate(outcomes, searches, find), ...linear(outcomes)]
}

function seedsOf({ name, losses }: Outcome): Seeds {
  return { name, values: losses }
}

/**
 * Found: 4 and 16 workers do not differ in any setting, by the rule of all claims. Other tests show
 * that a step's update is the same. Here sums are rounded in another order, and the difference
 * grows as it does uncompressed.
 */
function linear(outcomes: readonly Outcome[]): Claim[] {
  const found = outcomes.flatMap((one) => {
    const { task, workers, name, losses, loss } = one
    const more = outcomes.find(
      (other) => other.task === task && other.name === name && other.workers > workers,
    )
    if (!/^(rank \d|uncompressed)$/.test(name) || !more || loss.count < LEAST_SEEDS) return []
    const apart = Math.max(...losses.map((value, i) => Math.abs(value - more.losses[i]!)))
    const spreads = `${show(loss, 3)} and ${show(more.loss, 3)}`
    const numbers = `${task.name}, ${name}: ${spreads}, of the same seed at most ${apart.toFixed(3)} apart`
    const strict = apart < (loss.most - loss.least) / 10
    return [{ good: compare(loss, more.loss) === 0, strict, numbers }]
  })
  if (found.length === 0) return []
  const close = found.filter(({ strict }) => strict).length
  return [
    {
      claim:
        'PowerSGD is linear: it does not matter how many workers share a batch (here: 4 or 16)',
      source: `${POWERSGD}, Section 3`,
      verdict: found.every(({ good }) => good) ? 'found' : 'not found',
      numbers: [
        ...found.map(({ numbers }) => numbers),
        `by a stricter rule, less than a tenth of the seeds' range apart: ${close} of ${found.length}`,
      ].join('; '),
    },
  ]
}

/**
 * Found: with the uncompressed rate, the first seed's loss is no more than the worst loss of all
 * seeds with the contestant's own rate.
 */
function sameRate(outcomes: readonly Outcome[], searches: readonly Search[], find: Find): Claim[] {
  const found = searches.flatMap(({ task, contestant: { name }, trainings }) => {
    const own = (wanted: string) =>
      outcomes.find(
        (one) =>
          one.task.name === task.name && !one.longer && one.workers === 4 && one.name === wanted,
      )!
    if (!['rank 1', 'rank 2', 'rank 4'].includes(name) || trainings.length === 1) return []
    const { learningRate } = own('uncompressed')
    const training = trainings.find((one) => one.learningRate === learningRate)!
    const loss = lossOf(find(training)!)
    const best = own(name)
    const numbers = `${task.name}, ${name}: ${learningRate} gives ${shown(loss)}, its own best ${best.learningRate} ${show(best.loss, 3)}`
    return [{ good: loss <= best.loss.most, numbers }]
  })
  if (found.length === 0) return []
  return [
    {
      claim: 'The learning rate that suits uncompressed gradients suits PowerSGD, too',
      source: `${POWERSGD}, Section 5`,
      verdict: found.every(({ good }) => good) ? 'found' : 'not found',
      numbers: found.map(({ numbers }) => numbers).join('; '),
    },
  ]
}

function shown(loss: number): string {
  return Number.isFinite(loss) ? loss.toFixed(3) : 'divergence'
}
