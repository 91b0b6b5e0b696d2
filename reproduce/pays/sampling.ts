// How times are taken here: repeatedly for a while, without the first ones.
import { statistics } from '../../bench/measure.ts'

/** How long something is measured, and how often at least. */
export interface Budget {
  readonly ms: number
  readonly least: number
}

/** Turns before samples are taken: V8 compiles the code again, better, in these. */
const WARM_UP = 2

/** Samples turns: their times in milliseconds, by name. */
export async function sample<K extends string>(
  { ms, least }: Budget,
  turn: () => Record<K, number> | Promise<Record<K, number>>,
): Promise<Record<K, number>[]> {
  for (let i = 0; i < WARM_UP; i++) await turn()
  const samples: Record<K, number>[] = []
  const begun = performance.now()
  do samples.push(await turn())
  while (samples.length < least || performance.now() - begun < ms)
  return samples
}

/** The median of the times of one name. */
export function medianOf<K extends string>(samples: readonly Record<K, number>[], of: K): number {
  return statistics(samples.map((one) => one[of])).ms
}

/** The median distance of a turn's whole time from its median. */
export function scatterOf(samples: readonly Record<string, number>[]): number {
  const whole = samples.map((one) => Object.values(one).reduce((sum, value) => sum + value, 0))
  return statistics(whole).spread
}

/** A clock. Each call returns the milliseconds since the call before, or since its creation. */
export function createLap(): () => number {
  let begun = performance.now()
  return () => {
    const before = begun
    begun = performance.now()
    return begun - before
  }
}
