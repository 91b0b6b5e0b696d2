// How every benchmark here measures and reports.
import { cpus } from 'node:os'
import { Bench } from 'tinybench'

/** One thing that is timed; its inputs exist before. */
export interface Case {
  readonly name: string
  readonly run: () => void
  /** that must be moved in any case: read + written */
  readonly bytes: number
  /** arithmetic operations; 0: none worth counting */
  readonly flops: number
}

export interface Measured {
  readonly name: string
  /** median */
  readonly ms: number
  /** median of the distances from the median */
  readonly spread: number
  readonly gigabytesPerSecond: number
  readonly gigaflops: number
  readonly samples: number
}

const CASE_MS = 500

/** Times the cases one after another, each alone for half a second after a warm-up. */
export function measure(cases: readonly Case[]): Measured[] {
  const bench = new Bench({ time: CASE_MS, warmupTime: 100, retainSamples: true, throws: true })
  for (const { name, run } of cases) bench.add(name, run)
  bench.runSync()
  return cases.map(({ name, bytes, flops }, i) => {
    const result = bench.tasks[i]!.result
    if (result.state !== 'completed') throw new Error(`${name}: ${result.state}`)
    const { p50, mad, samplesCount } = result.latency
    return {
      name,
      ms: p50,
      spread: mad,
      gigabytesPerSecond: bytes / p50 / 1e6,
      gigaflops: flops / p50 / 1e6,
      samples: samplesCount,
    }
  })
}

/**
 * Tables for people; with --json one object on standard output for programs.
 *
 * @param yardstick  what all medians are divided by in a column of their own
 */
export function report(
  sections: Readonly<Record<string, readonly Measured[]>>,
  yardstick?: Measured,
): void {
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
  }
  if (process.argv.includes('--json')) {
    console.log(JSON.stringify({ ...machine, yardstick, sections }, null, 2))
    return
  }
  console.log(`${machine.cpu}, Node ${machine.node}, one thread, ${machine.date}`)
  for (const [title, rows] of Object.entries(sections)) {
    console.log(`\n${title}`)
    console.table(rows.map((measured) => row(measured, yardstick)))
  }
}

function row(measured: Measured, yardstick?: Measured): Record<string, string | number> {
  const { name, ms, spread, gigabytesPerSecond, gigaflops, samples } = measured
  return {
    name,
    'median ms': digits(ms),
    '± ms': digits(spread),
    'GB/s': digits(gigabytesPerSecond),
    ...(gigaflops > 0 && { 'GFLOP/s': digits(gigaflops) }),
    ...(yardstick && { '× yardstick': digits(ms / yardstick.ms) }),
    samples,
  }
}

/** Three digits are more than the spread allows. */
function digits(value: number): number {
  return Number(value.toPrecision(3))
}
