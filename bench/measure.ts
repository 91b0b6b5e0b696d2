// How every benchmark here measures: in turns, after a warm-up, medians with their spread.
import { Bench } from 'tinybench'
import { byEffort, type Settings } from './effort.ts'
import type { Row } from './results.ts'

/** One thing to time; its inputs exist before. */
export interface Case {
  readonly name: string
  readonly run: () => unknown
  /** called before each of the case's turns, untimed */
  readonly before?: () => void
  /** `run` returns a promise, and the time until it resolves counts */
  readonly later?: boolean
  readonly bytes?: number
  readonly flops?: number
  /** name of the case that does the same work as a yardstick */
  readonly yardstick?: string
  readonly note?: string
}

/** Called before a case is timed. */
export type Progress = (name: string) => void

/**
 * Turns of each case. A slow spell of the machine then hits all cases, and does not distort a
 * ratio.
 */
const TURNS = 3

/**
 * Times all cases, a third of each at a time.
 *
 * Engines compile WebAssembly and JavaScript again, better, after some calls. So the runs before
 * the first turn are not counted.
 */
export async function measure(
  cases: readonly Case[],
  settings: Settings,
  progress: Progress,
): Promise<Row[]> {
  const time = byEffort(settings, 300, 150, 3) / TURNS
  const samples = cases.map(() => [] as number[])
  for (let turn = 0; turn < TURNS; turn++) {
    for (const [i, { name, run, before, later = false }] of cases.entries()) {
      progress(name)
      before?.()
      const bench = new Bench({
        time,
        iterations: 2,
        warmup: turn === 0 || before !== undefined,
        warmupTime: time,
        warmupIterations: 2,
        retainSamples: true,
        throws: true,
      })
      bench.add(name, run, { async: later })
      const [task] = later ? await bench.run() : bench.runSync()
      const { result } = task!
      if (result.state !== 'completed') throw new Error(`${name}: ${result.state}`)
      for (const sample of result.latency.samples!) samples[i]!.push(sample)
    }
  }
  return cases.map(({ name, bytes = 0, flops = 0, yardstick, note }, i) => ({
    name,
    ...statistics(samples[i]!),
    bytes,
    flops,
    ...(yardstick !== undefined && { yardstick }),
    ...(note !== undefined && { note }),
  }))
}

/** Median, and median distance from it. */
export function statistics(samples: readonly number[]): Pick<Row, 'ms' | 'spread' | 'samples'> {
  const ms = median(samples)
  return { ms, spread: median(samples.map((x) => Math.abs(x - ms))), samples: samples.length }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2
}

/** Rows with their ratios; the yardstick is another row of the same table. */
export function withRatios(rows: readonly Row[]): Row[] {
  return rows.map((row) => {
    if (row.yardstick === undefined) return row
    const yardstick = rows.find(({ name }) => name === row.yardstick)
    if (!yardstick) throw new Error(`${row.name}: no row "${row.yardstick}"`)
    const work = row.bytes > 0 && yardstick.bytes > 0 ? row.bytes / yardstick.bytes : 1
    return { ...row, ratio: row.ms / yardstick.ms / work }
  })
}
