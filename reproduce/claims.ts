// Verdicts on claims that compare trainings, by one rule. All values here are better when less.
import type { Claim, Verdict } from './experiment.ts'
import { compare, LEAST_SEEDS, show, spreadOf } from './spread.ts'

/** Two contestants in one setting: `one` is claimed to be better, or no worse, than `other`. */
export interface Pair {
  /** the setting, in words */
  readonly where: string
  readonly one: Seeds
  readonly other: Seeds
}

/** The values of one contestant, one for each seed. */
export interface Seeds {
  readonly name: string
  readonly values: readonly number[]
}

/**
 * Judges the claim that one is better than the other.
 *
 * Found: it is better in every setting. Not found: it is worse in at least one. Not decidable:
 * anything else, for then the seeds' ranges overlap somewhere.
 */
export function better(claim: string, source: string, pairs: readonly Pair[]): Claim {
  return judge(claim, source, pairs, (signs) => {
    if (signs.every((sign) => sign < 0)) return 'found'
    return signs.some((sign) => sign > 0) ? 'not found' : 'not decidable'
  })
}

/**
 * Judges the claim that one is no worse than the other.
 *
 * Found: it is worse in no setting. Not found: it is worse in at least one.
 */
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
