// Seeded choices of the fuzzer.
import { numbers } from '../support/numbers.ts'

/** Choices that a seed determines. */
export interface Dice {
  /** a number in [0, 1) */
  chance(): number
  /** a whole number in 0 … n − 1 */
  below(n: number): number
  /** true with this probability */
  hits(probability: number): boolean
  pick<T>(items: readonly T[]): T
}

/** @param seeds  whole numbers; each set of them gives choices of its own */
export function createDice(...seeds: readonly number[]): Dice {
  const mixed = seeds.reduce((hash, seed) => Math.imul(hash ^ seed, 0x9e3779b1) ^ (hash >>> 15), 1)
  const next = numbers(mixed)
  const chance = () => (next() + 1) / 2
  const below = (n: number) => Math.min(n - 1, Math.floor(chance() * n))
  return {
    chance,
    below,
    hits: (probability) => chance() < probability,
    pick: (items) => items[below(items.length)]!,
  }
}
