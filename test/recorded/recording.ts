// Recorded runs of other programs: finds and reads the files, and compares numbers.
import { existsSync, readFileSync } from 'node:fs'
import * as assert from 'uvu/assert'
import { readState, writeState } from '../support/safetensors.ts'

/** One file. Tensors keep their parameter's shape; factors are length × rank, row after row. */
export interface Recording<Config> {
  readonly config: Config
  readonly has: (name: string) => boolean
  /** @throws if the file has no tensor of that name */
  readonly get: (name: string) => Float32Array
  /** a tensor of whole numbers */
  readonly ints: (name: string) => Int32Array
  /** a factor column by column, as the library lays it out */
  readonly factor: (name: string) => Float32Array
}

/** The loss by rounding, relative to the largest entry. */
const CONSERVED = 1e-6

/** The whole recordings lie in or beside the checkout, if at all; here lies a copy of a part. */
const WHOLE = ['../../', '../../../'].map((up) => new URL(`${up}shared/fixtures/`, import.meta.url))
const COPY = new URL('cases/', import.meta.url)

/** Reads a file of the copy, or with `whole` the file that it was made from, if that is at hand. */
export function recording<Config>(
  path: string,
  { whole = false } = {},
): Recording<Config> & { readonly whole: boolean } {
  const all = WHOLE.map((folder) => new URL(`${path}.safetensors`, folder))
  const found = whole ? all.find((url) => existsSync(url)) : undefined
  const url = found ?? new URL(`${path}.safetensors`, COPY)
  const { metadata, tensors } = readState(new Uint8Array(readFileSync(url)))
  const tensor = (name: string) => {
    const one = tensors.get(name)
    if (!one) throw new Error(`${path} has no ${name}`)
    return one
  }
  return {
    whole: found !== undefined,
    config: JSON.parse(metadata.config!) as Config,
    has: (name) => tensors.has(name),
    get: (name) => tensor(name).data,
    ints: (name) => new Int32Array(tensor(name).data.buffer),
    factor(name) {
      const { shape, data } = tensor(name)
      return transposed(data, shape[0]!, shape[1]!)
    },
  }
}

/**
 * Writes factors and residuals to begin with, as a file that another program might have written.
 */
export function stateOf(
  factors: ReadonlyMap<number, { data: Float32Array; rank: number }>,
  residuals: ReadonlyMap<number, { data: Float32Array; shape: readonly number[] }> = new Map(),
): Uint8Array {
  const tensors: Record<string, { shape: number[]; data: Float32Array }> = {}
  for (const [i, { data, rank }] of factors) {
    tensors[`q/${i}`] = { shape: [rank, data.length / rank], data }
  }
  for (const [i, { data, shape }] of residuals) {
    tensors[`residual/${i}`] = { shape: [...shape], data }
  }
  return writeState(tensors)
}

/** Turns rows × cols by row into cols × rows by row: the same numbers, column by column. */
export function transposed(x: Float32Array, rows: number, cols: number): Float32Array {
  return Float32Array.from(x, (_, at) => x[(at % rows) * cols + Math.floor(at / rows)]!)
}

export function largest(...arrays: readonly Float32Array[]): number {
  return arrays.flatMap((x) => [...x]).reduce((most, value) => Math.max(most, Math.abs(value)), 0)
}

/** Fails if an element is off by more than `tolerance` times `size`. */
export function close(
  got: Float32Array,
  want: Float32Array,
  tolerance: number,
  size: number,
  what: string,
): void {
  assert.is(got.length, want.length, what)
  const off = largest(got.map((value, i) => value - want[i]!))
  if (off <= tolerance * size) return
  assert.unreachable(`${what}: off by ${off / size} of the largest entry, more than ${tolerance}`)
}

export function meanOf(arrays: readonly Float32Array[]): Float32Array {
  return arrays[0]!.map((_, j) => arrays.reduce((sum, x) => sum + x[j]!, 0) / arrays.length)
}

/** Fails unless the mean of the inputs is the update plus the mean of the residuals. */
export function conserved(
  inputs: readonly Float32Array[],
  update: Float32Array,
  residuals: readonly Float32Array[],
  what: string,
): void {
  const left = meanOf(residuals)
  const out = update.map((x, j) => x + left[j]!)
  // The scale includes the update: that of edges-w2-r4, parameter 1, is twice its input.
  close(out, meanOf(inputs), CONSERVED, largest(...inputs, update), what)
}
