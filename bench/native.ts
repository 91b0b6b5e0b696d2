// The same kernels in C, as a program of its own on the core of this process.
import { spawnSync } from 'node:child_process'
import type { Size } from './arrays.ts'
import { byEffort, type Settings } from './effort.ts'
import { kernelName, type Row } from './results.ts'
import { MIXES, type Mix, ON_MATRIX, streamName } from './stream.ts'
import { nativeProgram } from './tools.ts'

/** One measurement, as the program prints it. */
type Native = Omit<Row, 'yardstick' | 'ratio' | 'note'> & {
  /** rank of a kernel, streams of a probe */
  readonly number: number
}

/** The ranks that C has kernels for. */
const RANKS = [1, 2, 4]

/**
 * Measures probes and kernels, as rows of the table of the same size. Their yardsticks are those in
 * wasm.
 *
 * @throws Unavailable  if the program cannot be compiled or run here
 */
export function measureNative(
  { rows, cols }: Size,
  ranks: readonly number[],
  settings: Settings,
): Row[] {
  const time = byEffort(settings, 200, 100, 1)
  const known = ranks.filter((rank) => RANKS.includes(rank))
  const measured = run([rows, cols, time, ...known])
  const streams = (Object.keys(MIXES) as Mix[]).map((mix): Row => {
    const probes = measured.filter(({ name }) => name === `probe ${mix}`)
    const { number, ...fastest } = probes.reduce((a, b) => (b.ms < a.ms ? b : a))
    const yardstick = streamName(mix)
    return { ...fastest, name: `C: ${yardstick}`, yardstick, note: `${number} at once` }
  })
  const kernels = measured.flatMap(({ number, ...row }): Row[] => {
    const kernel = ON_MATRIX[row.name]
    if (!kernel) return []
    return [
      { ...row, name: `C: ${kernelName(row.name, number)}`, yardstick: streamName(kernel.mix) },
    ]
  })
  return [...streams, ...kernels]
}

function run(words: readonly number[]): Native[] {
  const { status, stdout, stderr } = spawnSync(nativeProgram(), words.map(String), {
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(stderr.trim() || `the native program ended with ${status}`)
  return JSON.parse(stdout) as Native[]
}
