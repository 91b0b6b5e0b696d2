// The kernels in WebAssembly, on single matrices in arrays of the caller's.
import type { Dims, Kernels } from '../../backend.ts'
import { BLOCK_WORDS } from './blocks.ts'
import { instantiate, type KernelExports, moduleFor } from './load.ts'

/** Kernels whose arrays may lie where they work, so that nothing is copied. */
export interface WasmKernels extends Kernels {
  /**
   * A new array of zeros in wasm memory, valid as long as the kernels are, or until `reserve`.
   *
   * @throws RangeError  if fewer floats are left of those that were asked for at creation
   */
  alloc(floats: number): Float32Array
  /**
   * Takes all of these arrays back, and makes room for so many floats in new ones, which may hold
   * anything. The memory never shrinks.
   *
   * @throws RangeError  if the host cannot give so much
   */
  reserve(floats: number): void
}

/**
 * The kernels in WebAssembly.
 *
 * A call all of whose arrays came from `alloc` works on them in place; any other copies its arrays
 * into a memory of its own, which grows as needed, and its outputs back.
 *
 * @param options.floats  how many `alloc` can give in all, each array rounded up to a multiple of 4
 * @param options.relaxed  true: with relaxed SIMD; false: the same bits on every engine. Default false.
 * @throws UnsupportedError  if this host cannot compile the module
 */
export async function createWasmKernels({
  floats = 0,
  relaxed = false,
} = {}): Promise<WasmKernels> {
  const module = await moduleFor(relaxed)
  // Two memories: growing one would detach every array that lies in it.
  const own = new Workplace(module, ROOM_BYTES + align(4 * floats))
  const lent = new Workplace(module, 0)
  let free = own.heap + ROOM_BYTES
  let end = align(free + 4 * floats)

  /**
   * Runs a kernel on operands, of which the first `changed` are outputs. `kernel` gets their
   * addresses, and that of `roomBytes` for scratch; if it returns false, nothing is copied back.
   */
  function run<T>(
    operands: readonly Float32Array[],
    changed: number,
    roomBytes: number,
    kernel: (exports: KernelExports, at: number[], room: number, memory: WebAssembly.Memory) => T,
  ): T {
    const inside = operands.every(({ buffer }) => buffer === own.memory.buffer)
    if (inside && roomBytes <= ROOM_BYTES) {
      const at = operands.map(({ byteOffset }) => byteOffset)
      return kernel(own.exports, at, own.heap, own.memory)
    }
    let next = lent.heap + align(roomBytes)
    const at = operands.map(({ byteLength }) => {
      const here = next
      next = align(next + byteLength)
      return here
    })
    lent.reserve(next)
    const copies = operands.map(
      ({ length }, i) => new Float32Array(lent.memory.buffer, at[i]!, length),
    )
    for (const [i, operand] of operands.entries()) copies[i]!.set(operand)
    const result = kernel(lent.exports, at, lent.heap, lent.memory)
    if (result !== false) {
      for (const [i, operand] of operands.slice(0, changed).entries()) operand.set(copies[i]!)
    }
    return result
  }

  /** As `run`, with the address of a table of one block: the whole matrix. */
  function runMatrix<T>(
    operands: readonly Float32Array[],
    changed: number,
    dims: Dims,
    kernel: (exports: KernelExports, at: number[], table: number) => T,
  ): T {
    return run(operands, changed, 4 * BLOCK_WORDS, (exports, at, room, { buffer }) => {
      new Int32Array(buffer, room, BLOCK_WORDS).set(wholeMatrix(dims))
      return kernel(exports, at, room)
    })
  }

  return {
    name: 'wasm',

    alloc(floats) {
      const next = align(free + 4 * floats)
      if (next > end) {
        throw new RangeError(`"floats": expected at most ${(end - free) / 4} more, got ${floats}`)
      }
      const array = new Float32Array(own.memory.buffer, free, floats)
      free = next
      return array
    },

    reserve(floats) {
      free = own.heap + ROOM_BYTES
      end = align(free + 4 * floats)
      own.reserve(end)
    },

    accumulateProject(p, m, g, q, dims) {
      const before = p.slice() // the kernel leaves p undefined where it fails
      return runMatrix([p, m, g, q], 2, dims, (exports, [p0, m0, g0, q0], table) => {
        const done = exports.accumulateProject(p0!, m0!, g0!, q0!, table, 1) === 1
        if (!done) p.set(before)
        return done
      })
    },

    project: (p, m, q, dims) =>
      runMatrix([p, m, q], 1, dims, (exports, [p, m, q], table) =>
        exports.project(p!, m!, q!, table, 1),
      ),

    backproject: (q, m, p, dims) =>
      runMatrix([q, m, p], 1, dims, (exports, [q, m, p], table) =>
        exports.backproject(q!, m!, p!, table, 1),
      ),

    reconstruct: (y, p, q, dims, scale = 1, accumulate = false) =>
      runMatrix([y, p, q], 1, dims, (exports, [y, p, q], table) =>
        exports.reconstruct(y!, p!, q!, table, 1, scale, accumulate ? 1 : 0),
      ),

    residual: (m, p, q, dims) =>
      runMatrix([m, p, q], 1, dims, (exports, [m, p, q], table) =>
        exports.residual(m!, p!, q!, table, 1),
      ),

    settle: (y, m, p, qLocal, qMean, dims, scale = 1, accumulate = false) =>
      runMatrix([y, m, p, qLocal, qMean], 2, dims, (exports, [y, m, p, qLocal, qMean], table) =>
        exports.settle(y!, m!, p!, qLocal!, qMean!, table, 1, scale, accumulate ? 1 : 0),
      ),

    orthonormalize: (columns, rows, rank, from = 0) =>
      run([columns], 1, 8 * rows, (exports, [columns], scratch) =>
        exports.orthonormalize(columns!, rows, rank, from, scratch),
      ),

    normal: (x, seed, use, parameter, column, step) =>
      run([x], 1, 0, (exports, [at]) =>
        exports.normal(at!, x.length, seed, use, parameter, column, step),
      ),

    norm: (x) => run([x], 0, 0, (exports, [at]) => exports.norm(at!, x.length)),

    accumulate: (y, x, a) =>
      run([y, x], 1, 0, (exports, [to, from]) => exports.accumulate(to!, from!, y.length, a)),

    momentum: (x, m, g, learningRate, momentum, weightDecay) =>
      run([x, m, g], 2, 0, (exports, [x0, m0, g0]) =>
        exports.momentum(x0!, m0!, g0!, x.length, learningRate, momentum, weightDecay),
      ),
  }
}

/** For tables and scratch below what `alloc` gives: columns of up to 131,072 rows in place. */
const ROOM_BYTES = 1 << 20

const PAGE_BYTES = 1 << 16

/** An instance with a memory of its own. */
class Workplace {
  readonly memory = new WebAssembly.Memory({ initial: 1 })
  readonly exports: KernelExports
  readonly heap: number

  constructor(module: WebAssembly.Module, bytes: number) {
    this.exports = instantiate(module, this.memory)
    this.heap = align(this.exports.heapBase.value)
    this.reserve(this.heap + bytes)
  }

  /** @throws RangeError  if the host cannot give so much */
  reserve(end: number): void {
    const missing = Math.ceil((end - this.memory.buffer.byteLength) / PAGE_BYTES)
    if (missing > 0) this.memory.grow(missing)
  }
}

/** One matrix as a block; its words are in assembly/inline/block.ts. */
function wholeMatrix({ rows, cols, rank }: Dims): number[] {
  return [0, cols, rows, cols, rank, 0, rows, 0, cols, 0, cols, 1]
}

function align(address: number): number {
  return Math.ceil(address / 16) * 16
}
