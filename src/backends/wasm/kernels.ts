// The kernels in WebAssembly, each on a single matrix in the caller's arrays.
import type { Dims, Kernels } from '../../backend.ts'
import { flag, integer, knownOptions } from '../../validate.ts'
import { BLOCK_WORDS } from './blocks.ts'
import { DWARFED, instantiate, type KernelExports, moduleFor, REFUSED } from './load.ts'

/** Kernels that can work in place, on arrays in their own memory. */
export interface WasmKernels extends Kernels {
  /**
   * Allocates an array in wasm memory. It holds zeros, or anything after a `reserve`, and stays
   * valid until `reserve`.
   *
   * @throws RangeError  if fewer floats are left of those reserved
   */
  alloc(floats: number): Float32Array
  /**
   * Frees all arrays of `alloc`, and reserves memory for so many floats in new ones. New arrays may
   * hold anything. The memory never shrinks.
   *
   * @throws RangeError  if the host cannot provide the memory
   */
  reserve(floats: number): void
}

/**
 * Creates the kernels in WebAssembly.
 *
 * If all arrays of a call came from `alloc`, the kernel works on them in place. Otherwise the call
 * copies its arrays into a second memory, which grows as needed, and copies the outputs back.
 *
 * @param options.floats  the floats that `alloc` can give in all, each array rounded up to a
 *   multiple of 4. Default 0.
 * @param options.relaxed  true: with relaxed SIMD; false: the same bits on every engine. Default
 *   false.
 * @throws TypeError, RangeError  naming the option at fault
 * @throws UnsupportedError  if this host cannot compile the module
 * @throws RangeError  if the host cannot provide the memory
 */
export async function createWasmKernels(
  options: { readonly floats?: number; readonly relaxed?: boolean } = {},
): Promise<WasmKernels> {
  const { floats = 0, relaxed = false } = knownOptions(options, ['floats', 'relaxed'])
  integer('floats', floats, 0, MOST_FLOATS)
  flag('relaxed', relaxed)
  const module = await moduleFor(relaxed)
  // There are two memories, for growing one detaches all arrays in it.
  const own = new Instance(module, ROOM_BYTES + align(4 * floats))
  const scratch = new Instance(module, 0)
  let free = own.heap + ROOM_BYTES
  let end = align(free + 4 * floats)

  /**
   * Runs a kernel.
   *
   * @param changed  the number of operands, the first ones, that are outputs
   * @param roomBytes  scratch that the kernel needs
   * @param kernel  gets the addresses of the operands and of the scratch. If it returns false,
   *   nothing is copied back.
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
    let next = scratch.heap + align(roomBytes)
    const at = operands.map(({ byteLength }) => {
      const here = next
      next = align(next + byteLength)
      return here
    })
    scratch.reserve(next)
    const copies = operands.map(
      ({ length }, i) => new Float32Array(scratch.memory.buffer, at[i]!, length),
    )
    for (const [i, operand] of operands.entries()) copies[i]!.set(operand)
    const result = kernel(scratch.exports, at, scratch.heap, scratch.memory)
    if (result !== false) {
      for (const [i, operand] of operands.slice(0, changed).entries()) operand.set(copies[i]!)
    }
    return result
  }

  /**
   * Like `run`, for a kernel that takes a table of blocks: a table of one block, the whole matrix.
   */
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
      integer('floats', floats, 0, MOST_FLOATS)
      const next = align(free + 4 * floats)
      if (next > end) {
        throw new RangeError(`"floats": expected at most ${(end - free) / 4} more, got ${floats}`)
      }
      const array = new Float32Array(own.memory.buffer, free, floats)
      free = next
      return array
    },

    reserve(floats) {
      integer('floats', floats, 0, MOST_FLOATS)
      free = own.heap + ROOM_BYTES
      end = align(free + 4 * floats)
      own.reserve(end)
    },

    accumulateProject(p, m, g, q, dims) {
      const { rows, cols, rank } = dims
      const before = p.slice() // the kernel may have written to p where it returns false
      // A few rows at a time, for the kernel saves their former M in the room behind the table.
      const height = 4 * Math.max(1, Math.floor(PART_FLOATS / 4 / cols))
      const roomBytes = TABLE_BYTES + 4 * cols * Math.min(rows, height)
      return run([p, m, g, q], 2, roomBytes, (exports, [p0, m0, g0, q0], room, { buffer }) => {
        const table = new Int32Array(buffer, room, BLOCK_WORDS)
        /** the former M of parts that g dwarfs, by their first float */
        const former = new Map<number, Float32Array>()
        for (let row = 0; row < rows; row += height) {
          const count = cols * Math.min(height, rows - row)
          const [start, at] = [row * cols, room + TABLE_BYTES]
          table.set(wholeMatrix({ rows: count / cols, cols, rank }))
          table[6] = rows // pStride
          const from = [p0! + 4 * row, m0! + 4 * start, g0! + 4 * start, q0!] as const
          const result = exports.accumulateProject(...from, at, room, 1)
          if (result === DWARFED) former.set(start, new Float32Array(buffer, at, count).slice())
          if (result !== REFUSED) continue
          // Only matters in place: otherwise m is a copy.
          exports.accumulate(m0!, g0!, start, -1)
          for (const [start, values] of former) {
            new Float32Array(buffer, m0! + 4 * start, values.length).set(values)
          }
          p.set(before)
          return false
        }
        return true
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
      run([columns], 1, 8 * rows, (exports, [columns], room) =>
        exports.orthonormalize(columns!, rows, rank, from, room),
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

/**
 * Room for tables and scratch, below the arrays of `alloc`. Enough for columns of 131,072 rows in
 * place.
 */
const ROOM_BYTES = 1 << 20

/** The table of one block, rounded up to 16 bytes. */
const TABLE_BYTES = 64

/** Floats that `accumulateProject` does at a time, or four rows: their former M fits the second cache. */
const PART_FLOATS = 1 << 15

const PAGE_BYTES = 1 << 16

/** What fits the 4 GiB of one memory. */
const MOST_FLOATS = 2 ** 30

/** An instance of the module with its memory. */
class Instance {
  readonly memory = new WebAssembly.Memory({ initial: 1 })
  readonly exports: KernelExports
  readonly heap: number

  constructor(module: WebAssembly.Module, bytes: number) {
    this.exports = instantiate(module, this.memory)
    this.heap = align(this.exports.heapBase.value)
    this.reserve(this.heap + bytes)
  }

  /**
   * Grows the memory until it has `end` bytes.
   *
   * @throws RangeError  if the host cannot provide it
   */
  reserve(end: number): void {
    const missing = Math.ceil((end - this.memory.buffer.byteLength) / PAGE_BYTES)
    if (missing <= 0) return
    try {
      this.memory.grow(missing)
    } catch (cause) {
      throw new RangeError(`"floats": this host cannot give ${end} bytes to WebAssembly`, { cause })
    }
  }
}

/**
 * The words of a block that is a whole matrix; assembly/inline/block.ts says what each means.
 */
function wholeMatrix({ rows, cols, rank }: Dims): number[] {
  return [0, cols, rows, cols, rank, 0, rows, 0, cols, 0, cols, 1, 0]
}

function align(address: number): number {
  return Math.ceil(address / 16) * 16
}
