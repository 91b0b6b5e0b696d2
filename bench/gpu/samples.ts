// How often work runs, and how one piece of it is timed.
import { byEffort, type Settings } from '../effort.ts'
import type { Clock } from './clock.ts'

/** Repetitions in one command buffer, so that its ends weigh little. */
const BATCH = 8

/** The most samples, for work that takes next to no time. */
const MOST = 200

/** Runs `once` uncounted until a GPU's clocks are up, then collects its results. */
export async function collect<T>(
  settings: Settings,
  once: () => Promise<T>,
  ms: (value: T) => number,
): Promise<T[]> {
  const warm = performance.now() + byEffort(settings, 200, 100, 0)
  for (let i = 0; i < 2 || performance.now() < warm; i++) await once()
  const [count, total] = byEffort(settings, [20, 10], [20, 10], [5, 0])
  const values: T[] = []
  for (let sum = 0; values.length < count || (sum < total && values.length < MOST); ) {
    const value = await once()
    sum += ms(value)
    values.push(value)
  }
  return values
}

/**
 * ms of the work that `encode` records, by timestamps. On a device without them: wall time of a
 * batch until the queue has done it.
 */
export function sample(
  clock: Clock,
  settings: Settings,
  encode: (encoder: GPUCommandEncoder) => void,
): Promise<number[]> {
  const { device } = clock
  const submit = () => {
    const encoder = device.createCommandEncoder()
    for (let i = 0; i < BATCH; i++) encode(encoder)
    device.queue.submit([encoder.finish()])
  }
  const once = async () => {
    if (clock.timestamps) return (await clock.time(submit)).gpu / BATCH
    const before = performance.now()
    submit()
    await device.queue.onSubmittedWorkDone()
    return (performance.now() - before) / BATCH
  }
  return collect(settings, once, (ms) => ms)
}
