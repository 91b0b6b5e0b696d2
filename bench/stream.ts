// The yardsticks: how fast plain wasm SIMD reads and writes memory, with next to no arithmetic.
import type { Case } from './measure.ts'
import type { Row } from './results.ts'
import { streamBinary } from './tools.ts'

/** Bytes an element that a kernel must move, by the probe that moves the same and no more. */
export const MIXES = { read: 4, write: 4, update: 8, accumulate: 12, settle: 12 } as const

export type Mix = keyof typeof MIXES

/**
 * For each kernel the mix that its matrix needs, and the operations on an element of the matrix.
 */
export const ON_MATRIX: Readonly<Record<string, { mix: Mix; flops: (rank: number) => number }>> = {
  accumulateProject: { mix: 'accumulate', flops: (rank) => 1 + 2 * rank },
  project: { mix: 'read', flops: (rank) => 2 * rank },
  backproject: { mix: 'read', flops: (rank) => 2 * rank },
  settle: { mix: 'settle', flops: (rank) => 4 * rank },
  reconstruct: { mix: 'write', flops: (rank) => 2 * rank },
  residual: { mix: 'update', flops: (rank) => 2 * rank },
}

/** Numbers of places of an array that are walked at once; the fastest counts. */
const STREAMS = [1, 2, 4]

/** Bytes a parameter that a step needs at least: g and M, M again, M and the update. */
export const STEP_BYTES = MIXES.accumulate + MIXES.read + MIXES.settle

interface Exports {
  read(x: number, n: number, streams: number): number
  write(y: number, n: number, streams: number): void
  update(m: number, n: number, streams: number): void
  accumulate(m: number, g: number, n: number, streams: number): void
  settle(y: number, m: number, n: number, streams: number): void
}

/** Probes over three arrays of their own. */
export interface Probes {
  /** Cases, one for each number of streams; `best` takes the fastest. */
  cases(mix: Mix): Case[]
  /** Cases of the passes of a step over all of the arrays, and no more. */
  step(): Case[]
}

/** @param floats  of each of the three arrays */
export async function createProbes(floats: number): Promise<Probes> {
  const bytes = Math.ceil(floats / 4) * 16
  const first = 1 << 16 // above whatever the module keeps for itself
  const pages = Math.ceil((first + 3 * bytes) / (1 << 16))
  const memory = new WebAssembly.Memory({ initial: pages })
  const { instance } = await WebAssembly.instantiate(await streamBinary(), { env: { memory } })
  const exports = instance.exports as unknown as Exports
  const [m, g, y] = [first, first + bytes, first + 2 * bytes]
  // Fill the arrays: unwritten pages may all be the same zeros, which stay in cache.
  for (const at of [m, g, y]) new Float32Array(memory.buffer, at, floats).fill(1)
  verify(exports, memory, [m, g, y], floats)
  const passes: Record<Mix, (streams: number) => void> = {
    read: (streams) => exports.read(m, floats, streams),
    write: (streams) => exports.write(y, floats, streams),
    update: (streams) => exports.update(m, floats, streams),
    accumulate: (streams) => exports.accumulate(m, g, floats, streams),
    settle: (streams) => exports.settle(y, m, floats, streams),
  }
  return {
    cases: (mix) =>
      STREAMS.map((streams) => ({
        name: probeName(mix, streams),
        bytes: MIXES[mix] * floats,
        run: () => passes[mix](streams),
      })),
    step: () =>
      STREAMS.map((streams) => ({
        name: probeName('step', streams),
        bytes: STEP_BYTES * floats,
        run() {
          passes.accumulate(streams)
          passes.read(streams)
          passes.settle(streams)
        },
      })),
  }
}

/** The fastest of the probes of one mix, as the yardstick. */
export function best(mix: Mix | 'step', rows: readonly Row[]): Row {
  const candidates = STREAMS.map((streams) => {
    const row = rows.find(({ name }) => name === probeName(mix, streams))
    if (!row) throw new Error(`no row "${probeName(mix, streams)}"`)
    return { ...row, name: streamName(mix), note: `${streams} at once` }
  })
  return candidates.reduce((fastest, row) => (row.ms < fastest.ms ? row : fastest))
}

/** Whether the row is one of the probes from which `best` chooses. */
export function isProbe({ name }: Row): boolean {
  return /^probe /.test(name)
}

/** The name of the row that `best` returns: the yardstick. */
export function streamName(mix: Mix | 'step'): string {
  return `stream: ${mix}`
}

function probeName(mix: Mix | 'step', streams: number): string {
  return `probe ${mix}, ${streams}`
}

/**
 * Checks that every probe touches all of the elements that it should, for each number of streams.
 */
function verify(
  exports: Exports,
  memory: WebAssembly.Memory,
  [m, g, y]: readonly [number, number, number],
  floats: number,
): void {
  const n = Math.min(floats - (floats % 32), 10240)
  const [inM, inG, inY] = [m, g, y].map((at) => new Float32Array(memory.buffer, at, n))
  for (const streams of STREAMS) {
    inM!.fill(1)
    inG!.fill(3)
    exports.accumulate(m, g, n, streams) // 2
    exports.update(m, n, streams) // −2
    const sum = exports.read(m, n, streams)
    exports.write(y, n, streams) // 1
    const written = inY!.every((value) => value === 1)
    exports.settle(y, m, n, streams)
    const right = inY!.every((value) => value === -2) && inM!.every((value) => value === 2)
    if (!(sum === -2 * n && written && right)) throw new Error(`a probe of ${streams} is wrong`)
  }
}
