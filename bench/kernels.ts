// Every kernel alone, in wasm memory, beside streams of the same bytes and the same kernel in C.
//
// Bytes count the reads and writes that the matrices need, or the columns if there is no matrix.
// Factors beside a matrix are not counted.
import type { Dims } from 'lowrank/kernels'
import { type Arrays, createArrays, type Size, verify } from './arrays.ts'
import { byEffort, ranksOf, type Settings } from './effort.ts'
import { type Case, measure, withRatios } from './measure.ts'
import { measureNative } from './native.ts'
import { kernelName, type Row } from './results.ts'
import type { Section } from './section.ts'
import { best, createProbes, isProbe, MIXES, type Mix, ON_MATRIX, streamName } from './stream.ts'
import { Unavailable } from './tools.ts'

const LARGE: Size = { rows: 4096, cols: 4096 } // a linear layer of a language model, 64 MB
const CONVOLUTION: Size = { rows: 512, cols: 4608 } // of ResNet-18's last stage, 9 MB
const EMBEDDING: Size = { rows: 28869, cols: 650 } // of the paper's LSTM, 72 MB
const TINY: Size = { rows: 37, cols: 66 }

export function sizesOf(settings: Settings): readonly Size[] {
  return byEffort(settings, [LARGE, CONVOLUTION, EMBEDDING], [LARGE, CONVOLUTION], [TINY])
}

/** The title of the table of one size. */
export function kernelsTitle({ rows, cols }: Size): string {
  return `kernels, ${rows} × ${cols}`
}

const mixes = Object.keys(MIXES) as Mix[]

export const kernels: Section = async (settings, { progress, table, skip }) => {
  const ranks = ranksOf(settings)
  for (const size of sizesOf(settings)) {
    const title = kernelsTitle(size)
    const n = size.rows * size.cols
    const probes = await createProbes(n)
    const arrays = await createArrays(size, Math.max(...ranks))
    for (const rank of ranks) verify(arrays, { ...size, rank })
    const rows = await measure(
      [
        ...mixes.flatMap((mix) => probes.cases(mix)),
        ...ranks.flatMap((rank) => onMatrix(arrays, { ...size, rank })),
        onVector(arrays, n),
        ...ranks.flatMap((rank) => onColumns(arrays, size.rows, rank)),
      ],
      settings,
      (name) => progress(`${title}: ${name}`),
    )
    let native: Row[] = []
    try {
      progress(`${title}: in C`)
      native = measureNative(size, ranks, settings)
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error
      skip(`kernels in C: ${error.message}`)
    }
    table({
      title,
      ratios: 'percent',
      against: '% of stream',
      rows: withRatios([
        ...mixes.map((mix) => best(mix, rows)),
        ...rows.filter((row) => !isProbe(row)),
        ...native,
      ]),
    })
  }
}

function onMatrix({ on, m, g, y, p, q, own, toLeft, toRight }: Arrays, dims: Dims): Case[] {
  const { rows, cols, rank } = dims
  const left = p.subarray(0, rows * rank)
  const mean = q.subarray(0, cols * rank)
  const ownRight = own.subarray(0, cols * rank)
  const leftOut = toLeft.subarray(0, rows * rank)
  const rightOut = toRight.subarray(0, cols * rank)
  const runs: Readonly<Record<string, () => unknown>> = {
    accumulateProject: () => on.accumulateProject(leftOut, m, g, mean, dims),
    project: () => on.project(leftOut, m, mean, dims),
    backproject: () => on.backproject(rightOut, m, left, dims),
    settle: () => on.settle(y, m, left, ownRight, mean, dims),
    reconstruct: () => on.reconstruct(y, left, mean, dims),
    residual: () => on.residual(m, left, mean, dims),
  }
  return Object.entries(ON_MATRIX).map(([name, { mix, flops }]) => ({
    name: kernelName(name, rank),
    run: runs[name]!,
    bytes: MIXES[mix] * rows * cols,
    flops: flops(rank) * rows * cols,
    yardstick: streamName(mix),
  }))
}

function onVector({ on, m }: Arrays, n: number): Case {
  return {
    name: 'norm',
    run: () => on.norm(m),
    bytes: MIXES.read * n,
    flops: 2 * n,
    yardstick: streamName('read'),
  }
}

function onColumns({ on, columns }: Arrays, rows: number, rank: number): Case[] {
  const some = columns.subarray(0, rows * rank)
  const single = Array.from({ length: rank }, (_, k) => some.subarray(k * rows, (k + 1) * rows))
  return [
    {
      name: kernelName('normal', rank),
      run() {
        for (const [k, column] of single.entries()) on.normal(column, 0, 0, 0, k, 0)
      },
      bytes: MIXES.write * rows * rank,
      yardstick: streamName('write'),
    },
    {
      name: kernelName('orthonormalize', rank),
      // The result is the next run's input; it is as much work as any other. Each column is
      // orthogonalized twice against the columns before it.
      run: () => on.orthonormalize(some, rows, rank),
      bytes: MIXES.update * rows * rank,
      flops: (4 * (rank - 1) + 3) * rows * rank,
      yardstick: streamName('update'),
    },
  ]
}
