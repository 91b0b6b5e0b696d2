// What PowerGossip's authors say about trainings, held against these.
import { better, noWorse, type Pair } from '../claims.ts'
import type { Claim } from '../experiment.ts'
import { spreadOf } from '../spread.ts'
import { type MethodName, TRAINED, titleOf } from './methods.ts'
import type { Outcome } from './table.ts'

export const POWERGOSSIP = 'Vogels et al. 2020 (PowerGossip)'

const POWER: readonly MethodName[] = ['power1', 'power2', 'power8']

export function claimsOf(outcomes: readonly Outcome[]): Claim[] {
  const rings = [...new Set(outcomes.map(({ nodes }) => nodes))]
  /** What was tuned and found to be best as it came stands for both. */
  const losses = (nodes: number, method: MethodName | null, tuned: boolean): readonly number[] => {
    const own = outcomes.filter(
      (outcome) =>
        outcome.nodes === nodes &&
        (method === null ? outcome.gossip === null : outcome.gossip?.method === method),
    )
    return (own.find((outcome) => outcome.tuned === tuned) ?? own[0]!).losses
  }
  const seeds = (nodes: number, method: MethodName | null, tuned: boolean) => ({
    name: `${method === null ? 'all-reduce' : titleOf(method)}${tuned && method ? ', tuned' : ''}`,
    values: losses(nodes, method, tuned),
  })
  const pairs = (one: Of, other: Of): Pair[] =>
    rings.map((nodes) => ({
      where: `ring of ${nodes}`,
      one: seeds(nodes, ...one),
      other: seeds(nodes, ...other),
    }))
  const tuned = TRAINED.filter((method) => !['plain', ...POWER].includes(method))
  /** Of each ring the tuned competitor that is best there. */
  const strongest = rings.map((nodes) => {
    const means = tuned.map((method) => spreadOf(losses(nodes, method, true)).mean)
    const method = tuned[means.indexOf(Math.min(...means))]!
    return { nodes, best: seeds(nodes, method, true) }
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
      strongest.map(({ nodes, best }) => ({
        where: `ring of ${nodes}`,
        one: seeds(nodes, 'power1', false),
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

/** null: all-reduce */
type Of = readonly [method: MethodName | null, tuned: boolean]
