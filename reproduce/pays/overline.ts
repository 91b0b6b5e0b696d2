// The demo over a line: its processes for coordinator and workers, with the shaping proxy between
// them.
import { createFleet } from '../../examples/demo/coordinator.ts'
import type { Settings } from '../../examples/demo/run.ts'
import { createCorpus } from '../../examples/demo/text.ts'
import { createShaper, type Shaper } from '../shaper.ts'
import { SYMBOLS } from './costs.ts'
import type { Line } from './steptime.ts'

/** Some steps of the demo. */
export interface Trip extends Line {
  /** 'rank 4': full steps, float32 */
  readonly way: 'uncompressed' | 'rank 4'
  readonly workers: number
  readonly steps: number
}

/**
 * With so many steps in all, the demo measures no loss in the first ones: that would take time,
 * too.
 */
const ALL_STEPS = 2000
const BEFORE_A_LOSS = 39

/**
 * @param signal  ends the run and its processes
 * @returns milliseconds from one step's last mean to the next step's; one fewer than steps
 */
export async function stepsOver(trip: Trip, signal: AbortSignal): Promise<number[]> {
  const { way, workers, steps, mbits, delayMs } = trip
  if (steps > BEFORE_A_LOSS) throw new RangeError(`"steps": expected ≤ ${BEFORE_A_LOSS}`)
  const settings: Settings = {
    ...{ workers, method: 'powersgd', rank: 4, wire: 'f32', backend: 'wasm', software: false },
    ...{ steps: ALL_STEPS, seed: 0 },
  }
  let shaper: Shaper | undefined
  try {
    const fleet = await createFleet(
      createCorpus(text(), workers),
      settings,
      signal,
      async (port) => {
        shaper = await createShaper(port, { bitsPerSecond: 1e6 * mbits, delayMs })
        return shaper.port
      },
    )
    try {
      const ends: number[] = []
      const rounds = way === 'uncompressed' ? 1 : 2
      await new Promise<void>((resolve, reject) => {
        let means = 0
        const step = () => {
          means++
          if (means % rounds === 0) ends.push(performance.now())
          if (ends.length === steps) resolve()
        }
        fleet.train(way !== 'uncompressed', { step, measured() {} }).catch(reject)
      })
      return ends.slice(1).map((end, i) => end - ends[i]!)
    } finally {
      await fleet.close()
    }
  } finally {
    await shaper?.close()
  }
}

/**
 * A text with as many different characters as the demo's own. It is short, for a step takes as long
 * with any text.
 */
function text(): string {
  const characters = Array.from({ length: SYMBOLS - 1 }, (_, i) => String.fromCharCode(0x100 + i))
  return characters.join('').repeat(300)
}
