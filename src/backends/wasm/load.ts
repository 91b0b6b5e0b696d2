// The kernels' module: compiled once, when it is first asked for; instantiated per memory.
import { UnsupportedError } from '../../errors.ts'
import { type Binaries, unpackBinaries } from './unpack.ts'

/**
 * What assembly/index.ts exports. All pointers are byte addresses in the imported memory, aligned
 * to 4; `blocks` is a table of `count` blocks of BLOCK_WORDS words (blocks.ts). Matrices are by
 * row, factors by column. Outputs overlap nothing else.
 */
export interface KernelExports {
  /** the first address that the host may use */
  readonly heapBase: WebAssembly.Global

  /**
   * M ← M + g, P ← M·Q; of blocks of rank 0, M ← M + g singleThread.
   *
   * @param p  out: left factors
   * @param m  in and out: matrices
   * @param g  in: the caller's arrays, where the blocks' word g says
   * @param q  in: right factors
   * @returns count; or the first block with a g or an M + g not below 2¹⁰⁰: its M is as it was (to
   *   the rounding of g), its P undefined; blocks before it are done, those after it untouched
   */
  accumulateProject(
    p: number,
    m: number,
    g: number,
    q: number,
    blocks: number,
    count: number,
  ): number

  /**
   * P ← M·Q
   *
   * @param p  out: left factors
   * @param m  in: matrices
   * @param q  in: right factors
   */
  project(p: number, m: number, q: number, blocks: number, count: number): void

  /**
   * Q ← Mᵀ·P; a block must hold all rows of its columns.
   *
   * @param q  out: right factors
   * @param m  in: matrices
   * @param p  in: left factors
   */
  backproject(q: number, m: number, p: number, blocks: number, count: number): void

  /**
   * Y ← scale·P·Qᵀ, or Y ← Y + scale·P·Qᵀ; products are added in ascending order of rank, in
   * float32, the same bits on every engine.
   *
   * @param y  out: the caller's arrays, where the blocks' word g says
   * @param p  in: left factors
   * @param q  in: right factors
   * @param accumulate  1: add to Y; 0: overwrite it
   */
  reconstruct(
    y: number,
    p: number,
    q: number,
    blocks: number,
    count: number,
    scale: number,
    accumulate: number,
  ): void

  /**
   * M ← M − P·Qᵀ, the product with the bits of `reconstruct`.
   *
   * @param m  in and out: matrices
   * @param p  in: left factors
   * @param q  in: right factors
   */
  residual(m: number, p: number, q: number, blocks: number, count: number): void

  /**
   * `reconstruct` from qMean and `residual` from qLocal, with their bits.
   *
   * @param y  out: the caller's arrays, where the blocks' word g says
   * @param m  in and out: matrices
   * @param p  in: left factors
   * @param qLocal  in: right factors, for M
   * @param qMean  in: right factors, for Y; may be qLocal
   * @param accumulate  1: add to Y; 0: overwrite it
   */
  settle(
    y: number,
    m: number,
    p: number,
    qLocal: number,
    qMean: number,
    blocks: number,
    count: number,
    scale: number,
    accumulate: number,
  ): void

  /**
   * Columns ← an orthonormal basis of their span, the same bits on every engine.
   *
   * @param columns  in and out: rows × rank
   * @param from  the first column to work on; those before it are orthonormal
   * @param scratch  out: rows float64
   * @returns rank; or the number of a column that is zero, not finite or dependent on those before
   *   it, as it was: replace it, and call again from there
   */
  orthonormalize(columns: number, rows: number, rank: number, from: number, scratch: number): number

  /**
   * x ← standard normals: element i is lane i mod 4 of Philox4x32-10 at counter (⌊i/4⌋, column,
   * parameter, step) under key (seed, use), through the inverse of the distribution.
   *
   * @param x  out: n floats
   */
  normal(
    x: number,
    n: number,
    seed: number,
    use: number,
    parameter: number,
    column: number,
    step: number,
  ): void

  /**
   * Four words of Philox4x32-10 at a counter of four and a key of two.
   *
   * @param out  out: 4 words
   */
  philox(out: number, c0: number, c1: number, c2: number, c3: number, k0: number, k1: number): void

  /** Σ x² over n floats, in float64 and in a fixed order */
  norm(x: number, n: number): number

  /** y ← y + a·x over n floats; y may be x */
  accumulate(y: number, x: number, n: number, a: number): void

  /** x ← a·x over n floats; a = 0 clears them, whatever they are */
  scale(x: number, n: number, a: number): void

  /**
   * d ← g + weightDecay·x, m ← momentum·m + d, x ← x − learningRate·(d + m)
   *
   * @param x  in and out: n parameters
   * @param m  in and out: n floats of momentum
   * @param g  in: n floats of the update
   */
  momentum(
    x: number,
    m: number,
    g: number,
    n: number,
    learningRate: number,
    momentum: number,
    weightDecay: number,
  ): void
}

let binaries: Promise<Binaries> | undefined
let plain: Promise<WebAssembly.Module> | undefined
let relaxed: Promise<WebAssembly.Module | null> | undefined

/** The modules' bytes, unpacked at the first call. */
export function loadBinaries(): Promise<Binaries> {
  binaries ??= unpackBinaries()
  return binaries
}

/**
 * The module whose bits are the same on every engine, compiled at the first call and shared by all:
 * it holds code only, no state.
 *
 * @throws UnsupportedError  if WebAssembly, its SIMD, or compiling it is not to be had here
 */
export function loadModule(): Promise<WebAssembly.Module> {
  plain ??= compile()
  return plain
}

/** The module with fused multiply-adds; null where the engine does not know relaxed SIMD. */
function loadRelaxed(): Promise<WebAssembly.Module | null> {
  relaxed ??= compileRelaxed()
  return relaxed
}

/**
 * @param relaxed  true: the one with relaxed SIMD; false: the plain one; undefined: what there is
 * @throws UnsupportedError  if it is not to be had here
 */
export async function moduleFor(relaxed: boolean | undefined): Promise<WebAssembly.Module> {
  const fused = relaxed === false ? null : await loadRelaxed()
  if (relaxed && !fused) throw new UnsupportedError('this host does not know relaxed SIMD')
  return fused ?? loadModule()
}

/** An instance over the given memory, at once: the module is small and compiled already. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): KernelExports {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } })
  return exports as unknown as KernelExports
}

async function compile(): Promise<WebAssembly.Module> {
  if (typeof WebAssembly === 'undefined') {
    throw new UnsupportedError('this host has no WebAssembly')
  }
  const bytes = (await loadBinaries()).plain
  try {
    return await WebAssembly.compile(bytes)
  } catch (cause) {
    // A content security policy raises the same CompileError as bytes that are not understood:
    // validation, which no policy forbids, tells them apart.
    throw new UnsupportedError(
      WebAssembly.validate(bytes)
        ? "compiling WebAssembly is not allowed here: add 'wasm-unsafe-eval' to script-src in " +
            'the content security policy'
        : 'this host does not know WebAssembly SIMD: it is too old for the wasm backend',
      { cause },
    )
  }
}

async function compileRelaxed(): Promise<WebAssembly.Module | null> {
  const [bytes] = await Promise.all([loadBinaries(), loadModule()])
  // Compiled rather than validated: some engines validate what their processor cannot run. The
  // plain module has been compiled, so that no policy is in the way.
  return WebAssembly.compile(bytes.relaxed).catch((error) => {
    if (error instanceof WebAssembly.CompileError) return null
    throw error
  })
}
