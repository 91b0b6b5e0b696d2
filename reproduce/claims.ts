// Verdicts on claims that compare trainings, by one rule. Less is better in all that is given here.
import type { Claim, Verdict } from './experiment.ts'
import { compare, LEAST_SEEDS, show, spreadOf } from './spread.ts'

/** Two in one setting: what is said to be better, or no worse, and what it is held against. */
export interface Pair {
  /** the setting, in words */
  readonly where: string
  readonly one: Seeds
  readonly other: Seeds
}

/** What the seeds of one came to. */
export interface Seeds {
  readonly name: string
  readonly values: readonly number[]
}

/**
 * That one is better than the other. Found: it is, in every setting. Not found: it is worse in one at least.
 * Otherwise somewhere the seeds' ranges overlap, and it is not decidable.
 */
export function better(claim: string, source: string, pairs: readonly Pair[]): Claim {
  return judge(claim, source, pairs, (signs) => {
    if (signs.every((sign) => sign < 0)) return 'found'
    return signs.some((sign) => sign > 0) ? 'not found' : 'not decidable'
  })
}

/** That one is no worse than the other. Found: in no setting it is worse. Not found: in one at least it is. */
export function noWorse(claim: string, source: string, pairs: readonly Pair[]): Claim {
  return judge(claim, source, pairs, (signs) =>
    signs.some((sign) => sign > 0) ? 'not found' : 'found',
  )
}

function judge(
  claim: string,
  source: string,
  pairs: readonly Pair[],
  decide: (signs: readonly number[]) => Verdict,
): Claim {
  const spreads = pairs.map(({ where, one, other }) => ({
    where,
    names: [one.name, other.name] as const,
    one: spreadOf(one.values),
    other: spreadOf(other.values),
  }))
  const enough = spreads.every(({ one, other }) => Math.min(one.count, other.count) >= LEAST_SEEDS)
  const signs = spreads.map(({ one, other }) => compare(one, other))
  return {
    claim,
    source,
    verdict: enough ? decide(signs) : 'not decidable',
    numbers: spreads
      .map(({ where, names: [name, against], one, other }, i) => {
        const sign = signs[i]!
        const word = sign < 0 ? 'better' : sign > 0 ? 'worse' : 'within the spread'
        const values = `${name} ${show(one, 3)}, ${against} ${show(other, 3)}`
        return enough ? `${where}: ${values}: ${word}` : `${where}: ${values}`
      })
      .join('; '),
  }
}
