// Runs whose results must have the same bits on every engine, as one hash each. Nothing here needs
// Node: the same functions run in browsers. All arithmetic is + − × ÷, which every engine rounds
// alike.

import type { Backend, Kernels } from '../../src/backend.ts'
import type { Options } from '../../src/index.ts'

/** The methods of a compressor that are used here, whichever build it is from. */
interface Worker {
  compress(gradients: readonly Float32Array[], options: { weight: number }): Promise<Uint8Array>
  receive(mean: Uint8Array): Promise<Uint8Array | null>
  decompress(
    into: readonly Float32Array[],
    options: { scale: number; accumulate: boolean },
  ): Promise<unknown>
  save(options?: { residual: boolean }): Promise<Uint8Array>
}

/** The exports of the door `lowrank` that are used here. */
export interface Lowrank {
  createCompressor(shapes: readonly (readonly number[])[], options?: Options): Promise<Worker>
  aggregate(frames: readonly Uint8Array[]): Uint8Array
  wasm(options: { relaxed: boolean }): Backend
}

/** Hex SHA-256; a page that is not served securely has no SHA-256 and must bring its own. */
export type Sha256 = (bytes: Uint8Array) => Promise<string>

export const GOLDEN = {
  run: '3ff7cd28e4cb0fd5c35927128483f23e599fb246fa2041a24dc50eea45042f5a',
  paper: '1f1e44b2a1404d9bf7d7fd96496f530877e4c4b8967a5f0e51fe08b5a0e95d37',
  normals: 'b233a0746b0fbbd504f92deffa456c462aaa1848cd6c39fce92f7ac06398190b',
  basis: '131cabd62cb3928c488f493bce570de5f29157ae814b9ad8f028bebcc5465e6c',
  update: '8896d3cd6064005760d98221564c00b458b9190958aea67f398ecacfe6a665ce',
  /** of workers with f32, whose bytes never change */
  frames: '7e89f59e86442d24c8da95567077bc1da2753b79720db754deed5741a35e0c11',
  /** of workers with unlike wire types */
  wires: '5e3de98b069b6b3d6d359e01f53d92b1f8c096d78f2a0569f903ef4db82fdb32',
} as const

const SHAPES = [[16, 12], [16], [4, 16], [4]] as const
const WIRES = ['f32', 'bf16', 'int8'] as const

/**
 * Takes fifty steps of three workers that train a small network: 12 inputs, 16 hidden units, 4
 * outputs, unlike weights, unlike wires. With `{ method: paper() }`, the result is `GOLDEN.paper`.
 *
 * @returns the hash of all workers' parameters
 */
export async function goldenRun(
  lowrank: Lowrank,
  sha256: Sha256 = digest,
  options: Options = { minCompressionRate: 0 },
): Promise<string> {
  const backend = lowrank.wasm({ relaxed: false }) // fused sums change a worker's own P and Q
  const settings = { ...options, rank: 2, seed: 1, backend }
  const fleet = await Promise.all(
    WIRES.map((wire, sender) => lowrank.createCompressor(SHAPES, { ...settings, wire, sender })),
  )
  const models = fleet.map(() => firstParameters())
  for (let step = 0; step < 50; step++) {
    let frames: (Uint8Array | null)[] = await Promise.all(
      fleet.map((worker, w) => {
        const gradients = gradientsOf(models[w]!, dataOf(w, step))
        return worker.compress(gradients, { weight: w + 1 })
      }),
    )
    while (frames.every((frame) => frame !== null)) {
      const mean = lowrank.aggregate(frames)
      frames = await Promise.all(fleet.map((worker) => worker.receive(mean)))
    }
    await Promise.all(
      fleet.map((worker, w) => worker.decompress(models[w]!, { scale: -0.05, accumulate: true })),
    )
  }
  return sha256(bytesOf(models.flat()))
}

/** The hash of seeded normals, of lengths on both sides of a vector's lanes. */
export async function goldenNormals(kernels: Kernels, sha256: Sha256 = digest): Promise<string> {
  const columns: Float32Array[] = []
  for (const length of [1, 3, 4, 5, 63, 1000]) {
    for (const seed of [0, 1, 0xffffffff]) {
      const column = new Float32Array(length)
      await kernels.normal(column, seed, 2, 7, length % 3, 123456789)
      columns.push(column)
    }
  }
  return sha256(bytesOf(columns))
}

/** The hash of orthonormal bases: of random columns, and of nearly dependent ones. */
export async function goldenBasis(kernels: Kernels, sha256: Sha256 = digest): Promise<string> {
  const bases: Float32Array[] = []
  for (const [rows, rank, mix] of [
    [4608, 4, 0],
    [999, 8, 0],
    [130, 5, 1 / 1024],
    [7, 7, 0],
  ] as const) {
    const columns = new Float32Array(rows * rank)
    for (let k = 0; k < rank; k++) {
      const column = columns.subarray(k * rows, (k + 1) * rows)
      await kernels.normal(column, 5, 1, rows, k, 0)
      // Each column is the first one plus a little.
      if (mix > 0 && k > 0)
        for (let i = 0; i < rows; i++) column[i] = columns[i]! + mix * column[i]!
    }
    const done = await kernels.orthonormalize(columns, rows, rank)
    if (done !== rank) throw new Error(`${rows} × ${rank}: column ${done} depends on the others`)
    bases.push(columns)
  }
  return sha256(bytesOf(bases))
}

/**
 * Lehmer's generator, scaled to (−1, 1): its whole numbers are below 2³¹, so products stay exact.
 */
export function source(seed: number): () => number {
  let state = seed + 1
  return () => {
    state = (state * 48271) % 2147483647
    return state / 1073741824 - 1
  }
}

function firstParameters(): Float32Array[] {
  const next = source(11)
  return SHAPES.map((shape) => {
    const length = shape.reduce((a: number, b) => a * b, 1)
    return Float32Array.from({ length }, () => (shape.length > 1 ? next() / 2 : 0))
  })
}

interface Batch {
  readonly inputs: readonly number[][]
  readonly targets: readonly number[][]
}

/**
 * Eight samples whose targets are products of inputs; each worker has its own corner of the inputs.
 */
function dataOf(worker: number, step: number): Batch {
  const next = source(1000 * worker + step + 1)
  const inputs = Array.from({ length: 8 }, () =>
    Array.from({ length: 12 }, (_, i) => next() + (i % 3 === worker ? 0.5 : 0)),
  )
  const targets = inputs.map((x) => [0, 1, 2, 3].map((j) => x[j]! * x[j + 4]! - x[j + 8]!))
  return { inputs, targets }
}

/** The gradients of the mean squared error of W₂·relu(W₁·x + b₁) + b₂. */
function gradientsOf(model: readonly Float32Array[], { inputs, targets }: Batch): Float32Array[] {
  const [w1, b1, w2, b2] = model as [Float32Array, Float32Array, Float32Array, Float32Array]
  const sums = model.map(({ length }) => new Array<number>(length).fill(0))
  const [dw1, db1, dw2, db2] = sums as [number[], number[], number[], number[]]
  for (const [s, x] of inputs.entries()) {
    const hidden = Array.from(b1, (bias, i) => {
      let sum = bias
      for (let j = 0; j < 12; j++) sum += w1[12 * i + j]! * x[j]!
      return Math.max(sum, 0)
    })
    const back = new Array<number>(16).fill(0)
    for (let i = 0; i < 4; i++) {
      let sum = b2[i]!
      for (let j = 0; j < 16; j++) sum += w2[16 * i + j]! * hidden[j]!
      const delta = (sum - targets[s]![i]!) / 16
      db2[i]! += delta
      for (let j = 0; j < 16; j++) {
        dw2[16 * i + j]! += delta * hidden[j]!
        back[j]! += delta * w2[16 * i + j]!
      }
    }
    for (let i = 0; i < 16; i++) {
      if (hidden[i] === 0) continue
      db1[i]! += back[i]!
      for (let j = 0; j < 12; j++) dw1[12 * i + j]! += back[i]! * x[j]!
    }
  }
  return sums.map((values) => Float32Array.from(values))
}

export function bytesOf(arrays: readonly Float32Array[]): Uint8Array {
  const all = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const array of arrays) {
    all.set(array, at)
    at += array.length
  }
  return new Uint8Array(all.buffer)
}

export async function digest(bytes: Uint8Array): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes.slice()))
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
