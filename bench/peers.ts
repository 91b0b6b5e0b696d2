// The products that compression is made of, by other JavaScript libraries. Each has one thread, and
// all run in this process, in turns with ours.
import { createWasmKernels, type Dims, type WasmKernels } from 'lowrank/kernels'
import { compare, type Size } from './arrays.ts'
import { byEffort, ranksOf, type Settings } from './effort.ts'
import { type Case, measure, withRatios } from './measure.ts'
import { jax } from './peers/jax.ts'
import { ort } from './peers/ort.ts'
import {
  type Factor,
  OPERATIONS,
  type Operation,
  type Prepared,
  type Product,
} from './peers/peer.ts'
import { tfjs } from './peers/tfjs.ts'
import type { Row } from './results.ts'
import type { Output, Section } from './section.ts'
import { hasRelaxedSimd } from './simd.ts'
import { best, createProbes, isProbe, type Mix } from './stream.ts'
import { Unavailable } from './tools.ts'

const PEERS = [tfjs, ort, jax]
const OURS = 'lowrank'

/** The reads or writes of the matrix that each operation needs. */
export const MIX_OF: Readonly<Record<Operation, Mix>> = {
  M·Q: 'read',
  Mᵀ·P: 'read',
  P·Qᵀ: 'write',
}

export function peerSizesOf(settings: Settings): readonly Size[] {
  const large = { rows: 4096, cols: 4096 }
  const tiny = [{ rows: 33, cols: 70 }]
  return byEffort(settings, [large, { rows: 512, cols: 4608 }], [large], tiny)
}

export function peersTitle({ rows, cols }: Size): string {
  return `peers, ${rows} × ${cols}`
}

export function peerName(operation: Operation, rank: number, by = OURS): string {
  return `${operation}, r = ${rank}: ${by}`
}

export const peers: Section = async (settings, output) => {
  const missing = new Set<string>()
  for (const size of peerSizesOf(settings)) {
    const title = peersTitle(size)
    const matrix = await createMatrix(size, ranksOf(settings))
    const prepared = await prepare(matrix.m, size, missing, output, title)
    const probes = await createProbes(matrix.m.length)
    const cases = (['read', 'write'] as const).flatMap((mix) => probes.cases(mix))
    for (const rank of ranksOf(settings)) {
      cases.push(...(await casesOf(matrix, { ...size, rank }, prepared)))
    }
    const rows = await measure(cases, settings, (name) => output.progress(`${title}: ${name}`))
    output.table({
      title,
      ratios: 'faster',
      against: 'than the fastest peer',
      rows: withRatios([
        best('read', rows),
        best('write', rows),
        ...rows.filter((row) => !isProbe(row)).map((row) => besideFastest(row, rows)),
      ]),
    })
  }
  for (const why of missing) output.skip(why)
}

async function prepare(
  m: Float32Array,
  { rows, cols }: Size,
  missing: Set<string>,
  { progress }: Output,
  title: string,
): Promise<Map<string, Prepared>> {
  const prepared = new Map<string, Prepared>()
  for (const peer of PEERS) {
    progress(`${title}: ${peer.name} starts`)
    try {
      prepared.set(peer.name, await peer.prepare(m.slice(), rows, cols))
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error
      missing.add(`${peer.name}: ${error.message}`)
    }
  }
  return prepared
}

interface Matrix {
  readonly on: WasmKernels
  readonly m: Float32Array
  /** M's absolute values; y is the output of P·Qᵀ */
  readonly sizes: Float32Array
  readonly y: Float32Array
}

async function createMatrix({ rows, cols }: Size, ranks: readonly number[]): Promise<Matrix> {
  const factors = ranks.reduce((sum, rank) => sum + 2 * rank * (rows + cols) + 16, 0)
  const on = await createWasmKernels({
    floats: 3 * rows * cols + factors + 16,
    relaxed: await hasRelaxedSimd(),
  })
  const [m, sizes, y] = [1, 2, 3].map(() => on.alloc(rows * cols)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ]
  on.normal(m, 1, 0, 0, 0, 0)
  for (let i = 0; i < m.length; i++) sizes[i] = Math.abs(m[i]!)
  return { on, m, sizes, y }
}

/** Our cases and theirs for one rank. Their results have been compared with ours. */
async function casesOf(
  { on, m, sizes, y }: Matrix,
  dims: Dims,
  prepared: ReadonlyMap<string, Prepared>,
): Promise<Case[]> {
  const { rows, cols, rank } = dims
  const [left, leftOut] = [on.alloc(rows * rank), on.alloc(rows * rank)]
  const [right, rightOut] = [on.alloc(cols * rank), on.alloc(cols * rank)]
  on.normal(left, 2, 0, 0, 0, 0)
  on.normal(right, 3, 0, 0, 0, 0)
  const ours: Record<Operation, { run: () => unknown; out: Float32Array }> = {
    M·Q: { run: () => on.project(leftOut, m, right, dims), out: leftOut },
    Mᵀ·P: { run: () => on.backproject(rightOut, m, left, dims), out: rightOut },
    P·Qᵀ: { run: () => on.reconstruct(y, left, right, dims), out: y },
  }
  const [p, q] = [factorOf(left, rank), factorOf(right, rank)]
  const theirs = new Map<string, Readonly<Record<Operation, Product>>>()
  for (const [name, prepare] of prepared) theirs.set(name, await prepare(p, q, rank))

  // Σ
  // x
  //
  // y
  // of every element, by the same kernels. Both sides may err by the bound.
  const bounds: Record<Operation, () => Float32Array> = {
    M·Q: () => {
      const out = new Float32Array(rows * rank)
      on.project(out, sizes, right.map(Math.abs), dims)
      return out
    },
    Mᵀ·P: () => {
      const out = new Float32Array(cols * rank)
      on.backproject(out, sizes, left.map(Math.abs), dims)
      return out
    },
    P·Qᵀ: () => {
      const out = new Float32Array(rows * cols)
      on.reconstruct(out, left.map(Math.abs), right.map(Math.abs), dims)
      return out
    },
  }
  const products: Record<Operation, number> = { M·Q: cols, Mᵀ·P: rows, P·Qᵀ: rank }
  const cases: Case[] = []
  for (const operation of OPERATIONS) {
    const work = { bytes: 4 * rows * cols, flops: 2 * rank * rows * cols }
    const { run, out } = ours[operation]
    run()
    const size = bounds[operation]()
    cases.push({ name: peerName(operation, rank), run, ...work })
    for (const [by, { [operation]: product }] of theirs) {
      const name = peerName(operation, rank, by)
      const got = await product.read()
      const ordered = operation === 'P·Qᵀ' || product.byColumn ? got : transpose(got, rank)
      compare(name, ordered, out, size, 2 * products[operation])
      cases.push({ name, run: product.run, later: product.later, ...work })
    }
  }
  return cases
}

/** Gives our row the fastest of the others as its yardstick. */
function besideFastest(row: Row, rows: readonly Row[]): Row {
  if (!row.name.endsWith(`: ${OURS}`)) return row
  const operation = row.name.slice(0, -OURS.length)
  const others = rows.filter(({ name }) => name.startsWith(operation) && name !== row.name)
  if (others.length === 0) return row
  return { ...row, yardstick: others.reduce((a, b) => (b.ms < a.ms ? b : a)).name }
}

function factorOf(columns: Float32Array, rank: number): Factor {
  return { columns: columns.slice(), rows: transpose(columns, columns.length / rank) }
}

/** Transposes a matrix with `cols` columns. */
function transpose(x: Float32Array, cols: number): Float32Array {
  const rows = x.length / cols
  return x.map((_, i) => x[(i % rows) * cols + Math.floor(i / rows)]!)
}
