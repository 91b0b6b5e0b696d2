// Fault schedules: the scenarios of simulation/, by seed and index.
import fc from 'fast-check'
import { BALANCED, simulateMethod } from '../simulation/any-method.ts'
import { type Scenario, scenario } from '../simulation/scenario.ts'
import { simulate } from '../simulation/simulate.ts'

const METHODS = Object.keys(BALANCED)

/** The failure of one schedule. */
export class ScheduleError extends Error {
  override readonly name = 'ScheduleError'
  readonly index: number

  constructor(seed: number, index: number, schedule: Scenario, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause)
    super(`schedule ${index} of seed ${seed}: ${why}\n${fc.stringify(schedule)}`, { cause })
    this.index = index
  }
}

/**
 * Runs schedules `from` … `to` − 1 of a seed.
 *
 * @throws ScheduleError  for the first that fails
 */
export async function huntSchedules(seed: number, from: number, to: number): Promise<void> {
  for (let index = from; index < to; index++) {
    const [schedule] = fc.sample(scenario, { seed: (seed * 1_000_003 + index) | 0, numRuns: 1 })
    try {
      // Full steps and half-steps, whose frames are computed again, are every second schedule.
      if (index % 2 === 0) await simulate(schedule!)
      else await simulateMethod(METHODS[(index >> 1) % METHODS.length]!, schedule!)
    } catch (error) {
      throw new ScheduleError(seed, index, schedule!, error)
    }
  }
}
