// The claims of PowerGossip's authors about trainings, with verdicts from the trainings here.
import { better, noWorse, type Pair, type Seeds } from '../claims.ts'
import type { Claim } from '../experiment.ts'
import { spreadOf } from '../spread.ts'
import { type MethodName, TRAINED, titleOf } from './methods.ts'
import type { Outcome } from './runs.ts'

export const POWERGOSSIP = 'Vogels et al. 2020 (PowerGossip)'

const POWER: readonly MethodName[] = ['power1', 'power2', 'power8']

export function claimsOf(outcomes: readonly Outcome[]): Claim[] {
  const settings = [...new Set(outcomes.map(whereOf))]
  const ownOf = (where: string, method: MethodName | null) =>
    outcomes.filter(
      (outcome) =>
        whereOf(outcome) === where &&
        (method === null ? outcome.gossip === null : outcome.gossip?.method === method),
    )
  /** A method whose untuned setting was the best has one row, which stands for both. */
  const seeds = (where: string, method: MethodName | null, tuned: boolean): Seeds => {
    const own = ownOf(where, method)
    return {
      name: `${method === null ? 'all-reduce' : titleOf(method)}${tuned && method ? ', tuned' : ''}`,
      values: (own.find((outcome) => outcome.tuned === tuned) ?? own[0]!).losses,
    }
  }
  /** Pairs of the two in each setting that has both. */
  const pairs = (one: Of, other: Of): Pair[] =>
    settings
      .filter((where) => [one, other].every(([method]) => ownOf(where, method).length > 0))
      .map((where) => ({ where, one: seeds(where, ...one), other: seeds(where, ...other) }))
  const tuned = TRAINED.filter((method) => !['plain', ...POWER].includes(method))
  /** The best tuned competitor in each setting. */
  const strongest = settings.map((where) => {
    const some = tuned.filter((method) => ownOf(where, method).length > 0)
    const means = some.map((method) => spreadOf(seeds(where, method, true).values).mean)
    return { where, best: seeds(where, some[means.indexOf(Math.min(...means))]!, true) }
  })
  return [
    noWorse(
      'At the learning rate of an all-reduce, plain gossip is as good as that',
      `${POWERGOSSIP}, poster`,
      pairs(['plain', false], [null, true]),
    ),
    ...POWER.map((method) =>
      noWorse(
        `${titleOf(method)}, with nothing tuned, is as good as plain gossip`,
        `${POWERGOSSIP}, poster`,
        pairs([method, false], ['plain', false]),
      ),
    ),
    noWorse(
      'PowerGossip needs no tuning: γ = 1 is as good as γ\\* of the spectrum, with 1 iteration',
      `${POWERGOSSIP}, abstract`,
      pairs(['power1', false], ['power1', true]),
    ),
    noWorse(
      'PowerGossip, 1 iteration, with nothing tuned, is as good as the best of the others tuned',
      `${POWERGOSSIP}, abstract`,
      strongest.map(({ where, best }) => ({
        where,
        one: seeds(where, 'power1', false),
        other: best,
      })),
    ),
    better(
      'More iterations are better: 2 than 1',
      `${POWERGOSSIP}, poster`,
      pairs(['power2', false], ['power1', false]),
    ),
    ...tuned.map((method): Claim => {
      const claim = `${titleOf(method)}: has to be tuned; what suited ResNet-20 is worse here`
      const source = `${POWERGOSSIP}, abstract`
      if (!outcomes.some(({ gossip, unbeaten }) => unbeaten && gossip?.method === method)) {
        return better(claim, source, pairs([method, true], [method, false]))
      }
      const numbers = 'it is the best of those tried'
      return { claim, source, verdict: 'not found', numbers }
    }),
  ]
}

function whereOf({ nodes, steps }: Outcome): string {
  return `ring of ${nodes}, ${steps} steps`
}

/** null: all-reduce */
type Of = readonly [method: MethodName | null, tuned: boolean]
