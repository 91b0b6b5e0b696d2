// Every kernel alone, in wasm memory: node --import tsx bench/kernels.ts [--json]
//
// GB/s counts what must be read and written of the matrices, or of the columns if there is no
// matrix; factors beside a matrix are not counted. To be set against the streams of the same size,
// and of as many arrays: one may fit a last-level cache where three do not.
import { createWasmKernels, type Dims } from '../src/kernels.ts'
import { type Case, type Measured, measure, report } from './measure.ts'

const SHAPES = [
  { rows: 512, cols: 4608 }, // a convolution of ResNet-18's last stage, 9 MB
  { rows: 4096, cols: 4096 }, // a linear layer of a language model, 64 MB
]
const RANKS = [1, 2, 4]

const [mostFloats, mostFactor] = [4096 * 4096, 4608 * 4]
const kernels = await createWasmKernels({ floats: 3 * mostFloats + 6 * mostFactor })
// Small factors: whatever is added to M time and again leaves it far from infinity.
const [m, g, y] = [filled(mostFloats, 1), filled(mostFloats, 1e-3), filled(mostFloats, 1)]
const [p, q] = [filled(mostFactor, 1e-3), filled(mostFactor, 1e-3)]
const [own, mean] = [filled(mostFactor, 1e-3), filled(mostFactor, 1e-3)]
const [toLeft, toRight] = [kernels.alloc(mostFactor), kernels.alloc(mostFactor)]

const sections: Record<string, Measured[]> = {}
for (const { rows, cols } of SHAPES) {
  sections[`${rows} × ${cols}`] = measure([
    ...streams(rows * cols),
    ...RANKS.flatMap((rank) => onMatrix({ rows, cols, rank })),
    ...RANKS.flatMap((rank) => onColumns(rows, rank)),
  ])
}
report(sections)

function streams(n: number): Case[] {
  const [x, into, velocity] = [g.subarray(0, n), y.subarray(0, n), m.subarray(0, n)]
  const entry = (name: string, perElement: number, flops: number, run: () => void): Case => ({
    name,
    run,
    bytes: perElement * n,
    flops: flops * n,
  })
  return [
    entry('copy (memcpy)', 8, 0, () => into.set(x)),
    entry('norm: Σ x²', 4, 2, () => kernels.norm(x)),
    entry('accumulate: y + a·x', 12, 2, () => kernels.accumulate(into, x, 1e-3)),
    entry('momentum', 20, 7, () => kernels.momentum(into, velocity, x, 1e-3, 0.9, 1e-4)),
  ]
}

function onMatrix(dims: Dims): Case[] {
  const { rows, cols, rank } = dims
  const n = rows * cols
  const [matrix, gradient, update] = [m.subarray(0, n), g.subarray(0, n), y.subarray(0, n)]
  const left = p.subarray(0, rows * rank)
  const [right, ownRight, meanRight] = [q, own, mean].map((x) => x.subarray(0, cols * rank))
  const entry = (name: string, perElement: number, flops: number, run: () => void): Case => ({
    name: `${name}, r = ${rank}`,
    run,
    bytes: perElement * n,
    flops: flops * n,
  })
  const [pOut, qOut] = [toLeft.subarray(0, rows * rank), toRight.subarray(0, cols * rank)]
  return [
    entry('accumulateProject', 12, 1 + 2 * rank, () =>
      kernels.accumulateProject(pOut, matrix, gradient, right!, dims),
    ),
    entry('project', 4, 2 * rank, () => kernels.project(pOut, matrix, right!, dims)),
    entry('backproject', 4, 2 * rank, () => kernels.backproject(qOut, matrix, left, dims)),
    entry('reconstruct', 4, 2 * rank, () => kernels.reconstruct(update, left, right!, dims)),
    entry('residual', 8, 2 * rank, () => kernels.residual(matrix, left, right!, dims)),
    entry('settle', 12, 4 * rank, () =>
      kernels.settle(update, matrix, left, ownRight!, meanRight!, dims),
    ),
  ]
}

function onColumns(rows: number, rank: number): Case[] {
  const columns = toLeft.subarray(0, rows * rank)
  const entry = (name: string, perElement: number, flops: number, run: () => void): Case => ({
    name: `${name}, r = ${rank}`,
    run,
    bytes: perElement * rows * rank,
    flops: flops * rows * rank,
  })
  return [
    entry('normal', 4, 0, () => {
      for (let k = 0; k < rank; k++) {
        kernels.normal(columns.subarray(k * rows, (k + 1) * rows), 0, 0, 0, k, 0)
      }
    }),
    // Its own result is as much work as any other input: k columns before it, twice.
    entry('orthonormalize', 8, 4 * (rank - 1) + 3, () =>
      kernels.orthonormalize(columns, rows, rank),
    ),
  ]
}

/** Seeded normals times a scale. */
function filled(floats: number, scale: number): Float32Array {
  const array = kernels.alloc(floats)
  kernels.normal(array, 1, 0, 0, 0, 0)
  for (let i = 0; i < floats; i++) array[i] = array[i]! * scale
  return array
}
