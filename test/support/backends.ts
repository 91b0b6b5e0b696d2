import * as assert from 'uvu/assert'
import type { Dims, Kernels, MaybePromise } from '../../src/backend.ts'
import { reference as loops } from '../../src/backends/reference.ts'
import { createWasmKernels } from '../../src/backends/wasm/kernels.ts'
import { loadModule, moduleFor } from '../../src/backends/wasm/load.ts'
import { webgpu } from '../../src/backends/webgpu/index.ts'
import { createWebgpuKernels, type WebgpuKernels } from '../../src/backends/webgpu/kernels.ts'
import { openDevice } from '../backends/webgpu/device.ts'
import { same } from './close.ts'

/** Kernels and the memory that they work in, lent to one call at a time. */
export type Bench<Names extends keyof Kernels = keyof Kernels> = Pick<Kernels, Names> & {
  readonly name: string
  readonly arena: Float32Array
  /** false: its sums may differ from the bits that all workers must agree on */
  readonly exact: boolean
}

/** The kernels that GPUs have as well. */
export type OnBoth = Exclude<keyof WebgpuKernels, 'dispose'>

const ARENA_FLOATS = 1 << 20

/** The plain kernels, and those with relaxed SIMD where the engine has it: Node 20 does not. */
const wasm = [{ ...(await createWasmKernels({ floats: ARENA_FLOATS })) }]
if ((await moduleFor(undefined)) !== (await loadModule())) {
  const relaxed = await createWasmKernels({ floats: ARENA_FLOATS, relaxed: true })
  wasm.push({ ...relaxed, name: 'wasm with relaxed SIMD' })
}

const all: readonly Bench[] = [
  { ...loops, arena: new Float32Array(ARENA_FLOATS), exact: false },
  ...wasm.map((kernels) => ({ ...kernels, arena: kernels.alloc(ARENA_FLOATS), exact: true })),
]

/** All backends; in a bundle that names one (built/bundle.ts), only that one. */
const { LOWRANK_BACKEND: only } = globalThis as { LOWRANK_BACKEND?: string }
export const backends = only ? all.filter(({ name }) => name === only) : all

const device = await openDevice()
/** The reason why there is no GPU here, not even one in software. */
export const withoutGpu = typeof device === 'string' ? device : null

/** All backends and the GPU, for the kernels that GPUs have. */
export const everywhere: readonly Bench<OnBoth>[] =
  typeof device === 'string'
    ? backends
    : [
        ...backends,
        {
          ...createWebgpuKernels(await webgpu({ device })),
          arena: new Float32Array(ARENA_FLOATS),
          exact: false,
        },
      ]

/** The kernels that the others are compared with. */
export const reference: Bench = all[0]!

/** The guard between operands, which must be unchanged afterwards. */
const GUARD = -12345.678

/**
 * Runs a kernel on copies of the arrays, each `offset` floats past a multiple of four and between
 * guards. Fails if a guard, or an array after the first `changed`, is not what it was.
 *
 * @returns the first `changed` arrays
 */
export async function run(
  on: Pick<Bench, 'arena'>,
  arrays: readonly Float32Array[],
  changed: number,
  offset: number,
  kernel: (operands: Float32Array[]) => MaybePromise<unknown>,
): Promise<Float32Array[]> {
  let end = 0
  const starts = arrays.map(({ length }) => {
    const start = end + 4 + offset
    end = start + length + 8
    end -= end % 4
    return start
  })
  if (end > on.arena.length) throw new RangeError(`the test needs an arena of ${end} floats`)
  const used = on.arena.subarray(0, end)
  used.fill(GUARD)
  const operands = arrays.map((array, i) => {
    const operand = used.subarray(starts[i]!, starts[i]! + array.length)
    operand.set(array)
    return operand
  })
  await kernel(operands)
  const results = operands.slice(0, changed).map((operand) => operand.slice())
  for (const [i, array] of arrays.entries()) if (i >= changed) same(operands[i]!, array)
  for (const operand of operands) operand.fill(GUARD)
  const guard = Math.fround(GUARD)
  const touched = used.findIndex((value) => value !== guard)
  assert.is(touched, -1, 'a float beside the operands was written')
  return results
}

/** Fills an output before a kernel runs, so that a skipped element shows. */
export function poison(n: number): Float32Array {
  return new Float32Array(n).fill(Number.NaN)
}

export async function project(
  on: Bench<'project'>,
  m: Float32Array,
  q: Float32Array,
  dims: Dims,
  offset = 0,
): Promise<Float32Array> {
  const p = poison(dims.rows * dims.rank)
  const [got] = await run(on, [p, m, q], 1, offset, ([p, m, q]) => on.project(p!, m!, q!, dims))
  return got!
}

export async function backproject(
  on: Bench<'backproject'>,
  m: Float32Array,
  p: Float32Array,
  dims: Dims,
  offset = 0,
): Promise<Float32Array> {
  const q = poison(dims.cols * dims.rank)
  const [got] = await run(on, [q, m, p], 1, offset, ([q, m, p]) => on.backproject(q!, m!, p!, dims))
  return got!
}

/** Overwrites if there is no `y` to add to. */
export async function reconstruct(
  on: Bench<'reconstruct'>,
  p: Float32Array,
  q: Float32Array,
  dims: Dims,
  { y, scale = 1, offset = 0 }: { y?: Float32Array; scale?: number; offset?: number } = {},
): Promise<Float32Array> {
  const into = y ?? poison(dims.rows * dims.cols)
  const add = y !== undefined
  const [got] = await run(on, [into, p, q], 1, offset, ([into, p, q]) =>
    on.reconstruct(into!, p!, q!, dims, scale, add),
  )
  return got!
}

export async function residual(
  on: Bench<'residual'>,
  m: Float32Array,
  p: Float32Array,
  q: Float32Array,
  dims: Dims,
  offset = 0,
): Promise<Float32Array> {
  const [got] = await run(on, [m, p, q], 1, offset, ([m, p, q]) => on.residual(m!, p!, q!, dims))
  return got!
}
