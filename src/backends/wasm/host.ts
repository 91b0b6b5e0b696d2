// The arithmetic whose bits all workers must agree on, whatever their backend: seeded normals, and
// orthonormal bases of the means that all have received. Always the plain wasm module.
import type { Host, Layout, Parameter, Random, Side } from '../../backend.ts'
import { isFloats } from '../../validate.ts'
import { instantiate, type KernelExports } from './load.ts'

/**
 * The uses of random numbers; the seed and the use are the generator's key. If a replaced column
 * depends on those before it again (which may happen with a caller's `random`), it is redrawn with
 * a use that is 4 higher, and so on.
 */
const USE = { right: 0, left: 1, replacedLeft: 2, replacedRight: 3, nextAttempt: 4 } as const

const MOST_ATTEMPTS = 16

/**
 * Creates a host.
 *
 * @param module  the plain module
 * @param random  replaces the Philox4x32-10 normals that are keyed with the seed
 */
export function createHost(module: WebAssembly.Module, seed: number, random?: Random): Host {
  return new WasmHost(module, seed, random)
}

class WasmHost implements Host {
  readonly #memory = new WebAssembly.Memory({ initial: 1 })
  readonly #kernels: KernelExports
  readonly #base: number
  readonly #seed: number
  readonly #random: Random | undefined

  constructor(module: WebAssembly.Module, seed: number, random: Random | undefined) {
    this.#kernels = instantiate(module, this.#memory)
    this.#base = Math.ceil(this.#kernels.heapBase.value / 16) * 16
    this.#seed = seed
    this.#random = random
  }

  fill(parameter: Parameter, side: Side, columns: Float32Array, from: number, step: number): void {
    const { length, at } = factorOf(parameter, side)
    for (let column = from; column < parameter.rank; column++) {
      const into = columns.subarray(at + column * length, at + (column + 1) * length)
      this.#draw(into, USE[side], parameter.index, column, step)
    }
  }

  orthonormalize(
    layout: Layout,
    side: Side,
    columns: Float32Array,
    step: number,
    units = false,
  ): void {
    const use = side === 'left' ? USE.replacedLeft : USE.replacedRight
    for (const parameter of layout.matrices) {
      const { length, at } = factorOf(parameter, side)
      const factor = columns.subarray(at, at + length * parameter.rank)
      const { rank, index } = parameter
      this.#basis(factor, length, rank, (into, column, attempt) => {
        if (units) {
          // k columns can nearly span at most k unit vectors, so one of the next will do.
          into.fill(0)[(column + attempt) % length] = 1
        } else if (attempt < MOST_ATTEMPTS) {
          this.#draw(into, use + USE.nextAttempt * attempt, index, column, step)
        } else {
          throw new RangeError(
            `"random": parameter ${index}, column ${column}: ${MOST_ATTEMPTS} columns in a row ` +
              'depend on those before them',
          )
        }
      })
    }
  }

  /**
   * Orthonormalizes one matrix's factor.
   *
   * @param factor  in and out: length × rank, by column
   * @param replace  writes a new column over one that is zero or dependent. `into` is in wasm
   *   memory, so it must not grow the memory.
   */
  #basis(
    factor: Float32Array,
    length: number,
    rank: number,
    replace: (into: Float32Array, column: number, attempt: number) => void,
  ): void {
    // The kernel's scratch comes first: its float64 need an address that is a multiple of 8.
    const at = this.#base + 8 * length
    this.#reserve(at + factor.byteLength)
    const copy = new Float32Array(this.#memory.buffer, at, factor.length)
    copy.set(factor)
    let replacing = -1
    let attempt = 0
    for (;;) {
      const from = Math.max(0, replacing)
      const column = this.#kernels.orthonormalize(at, length, rank, from, this.#base)
      if (column === rank) break
      attempt = column === replacing ? attempt + 1 : 0
      replacing = column
      replace(copy.subarray(column * length, (column + 1) * length), column, attempt)
    }
    factor.set(copy)
  }

  /** into ← normals of one column. */
  #draw(into: Float32Array, use: number, parameter: number, column: number, step: number): void {
    if (this.#random) {
      const values = this.#random(use, parameter, column, step, into.length)
      if (!isFloats(values) || values.length !== into.length) {
        throw new RangeError(`"random": expected a Float32Array of ${into.length} numbers`)
      }
      into.set(values)
      return
    }
    const inside = into.buffer === this.#memory.buffer
    if (!inside) this.#reserve(this.#base + into.byteLength)
    const at = inside ? into.byteOffset : this.#base
    this.#kernels.normal(at, into.length, this.#seed, use, parameter, column, step)
    if (!inside) into.set(new Float32Array(this.#memory.buffer, at, into.length))
  }

  /** Grows the memory until it has `end` bytes. */
  #reserve(end: number): void {
    const missing = end - this.#memory.buffer.byteLength
    if (missing > 0) this.#memory.grow(Math.ceil(missing / (1 << 16)))
  }
}

/** The length of a factor's columns, and the index of its first float in its arena. */
function factorOf(parameter: Parameter, side: Side): { length: number; at: number } {
  return side === 'left'
    ? { length: parameter.rows, at: parameter.left }
    : { length: parameter.cols, at: parameter.right }
}
