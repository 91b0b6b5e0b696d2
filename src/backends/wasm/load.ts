// The kernels' WebAssembly modules: compiled at first use, shared by all, instantiated once per
// memory.
import { UnsupportedError } from '../../errors.ts'
import { show } from '../../validate.ts'
import { type Binaries, unpackBinaries } from './unpack.ts'

/** Results of `accumulateProject`. */
export const REFUSED = 1
export const DWARFED = 2

/**
 * The exports of assembly/index.ts.
 *
 * All pointers are byte addresses in the imported memory, aligned to 4. `blocks` points to a table
 * of `count` blocks of BLOCK_WORDS words each (blocks.ts). Matrices lie by row, factors by column.
 * Outputs overlap no other operand, unless said otherwise.
 */
export interface KernelExports {
  /** the first address that the host may use */
  readonly heapBase: WebAssembly.Global

  /**
   * former ← M, M ← M + g, P ← M·Q; for blocks of rank 0 without P.
   *
   * @param p  out: left factors
   * @param m  in and out: matrices
   * @param g  in: the caller's arrays, at the offsets in the blocks' word g
   * @param q  in: right factors
   * @param former  out: M as it was, at the offsets in the blocks' word former, laid out as g; may
   *   be g
   * @returns REFUSED: some g or M + g is not below 2¹⁰⁰ in magnitude; M is as it was, to the bit, and
   *   P is undefined. DWARFED: done, but M − g would not be the former M: see assembly. Otherwise 0
   */
  accumulateProject(
    p: number,
    m: number,
    g: number,
    q: number,
    former: number,
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
   * Q ← Mᵀ·P. Each block must hold all rows of its columns.
   *
   * @param q  out: right factors
   * @param m  in: matrices
   * @param p  in: left factors
   */
  backproject(q: number, m: number, p: number, blocks: number, count: number): void

  /**
   * Y ← scale·P·Qᵀ, or Y ← Y + scale·P·Qᵀ. Products are added in ascending order of rank, in
   * float32. The bits are the same on every engine.
   *
   * @param y  out: the caller's arrays, at the offsets in the blocks' word g
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
   * M ← M − P·Qᵀ. The product has the same bits as in `reconstruct`.
   *
   * @param m  in and out: matrices
   * @param p  in: left factors
   * @param q  in: right factors
   */
  residual(m: number, p: number, q: number, blocks: number, count: number): void

  /**
   * `reconstruct` from qMean and `residual` from qLocal, in one pass and with the same bits.
   *
   * @param y  out: the caller's arrays, at the offsets in the blocks' word g
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
   * Columns ← an orthonormal basis of their span. The bits are the same on every engine.
   *
   * @param columns  in and out: rows × rank, by column
   * @param from  the first column to work on; those before it are orthonormal already
   * @param scratch  out: rows float64, aligned to 8
   * @returns rank; or the number of the first column that is zero, not finite, or dependent on
   *   those before it. That column is unchanged: replace it, and call again with its number as
   *   `from`.
   */
  orthonormalize(columns: number, rows: number, rank: number, from: number, scratch: number): number

  /**
   * x ← standard normals. Element i is the normal quantile of lane i mod 4 of Philox4x32-10 at
   * counter (⌊i/4⌋, column, parameter, step) under key (seed, use).
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
   * out ← Philox4x32-10 of the counter (c0, c1, c2, c3) under the key (k0, k1).
   *
   * @param out  out: 4 words
   */
  philox(out: number, c0: number, c1: number, c2: number, c3: number, k0: number, k1: number): void

  /** Σ x² over n floats, in float64 and in a fixed order */
  norm(x: number, n: number): number

  /** y ← y + a·x over n floats; y may be x */
  accumulate(y: number, x: number, n: number, a: number): void

  /** x ← a·x over n floats; a = 0 clears them, NaN and ∞ too */
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

let given: WebAssembly.Module | undefined
let binaries: Promise<Binaries> | undefined
let plain: Promise<WebAssembly.Module> | undefined
let relaxed: Promise<WebAssembly.Module | null> | undefined

/** The bytes of both modules, unpacked at the first call. */
export function loadBinaries(): Promise<Binaries> {
  binaries ??= unpackBinaries()
  return binaries
}

/**
 * Makes all of the package use a module that the program has compiled.
 *
 * @throws TypeError  unless it is one of the package's
 */
export function provideModule(module: object): void {
  const isModule = Object.prototype.toString.call(module) === '[object WebAssembly.Module]'
  const ours = ({ name }: { readonly name: string }) => name === 'accumulateProject'
  if (!isModule || !WebAssembly.Module.exports(module).some(ours)) {
    throw new TypeError(
      `"module": expected lowrank/lowrank.wasm as a WebAssembly.Module, got ${show(module)}`,
    )
  }
  given = module
  plain = Promise.resolve(module)
}

/**
 * The plain module: its results have the same bits on every engine. Compiled at the first call and
 * shared by all callers, for it has no state.
 *
 * @throws UnsupportedError  if this host lacks WebAssembly or its SIMD, or forbids compiling it
 */
export function loadModule(): Promise<WebAssembly.Module> {
  plain ??= loadBinaries().then(({ plain }) => compileModule(plain))
  return plain
}

/** The module with relaxed SIMD; null if the engine does not support it. */
function loadRelaxed(): Promise<WebAssembly.Module | null> {
  relaxed ??= compileRelaxed()
  return relaxed
}

/**
 * The module for an option `relaxed`.
 *
 * @param relaxed  true: the module with relaxed SIMD; false: the plain one; undefined: the one that
 *   was given, or else the former if the engine supports it, or else the latter
 * @throws UnsupportedError  if this host does not support that module
 */
export async function moduleFor(relaxed: boolean | undefined): Promise<WebAssembly.Module> {
  const fused = relaxed === false || (given && !relaxed) ? null : await loadRelaxed()
  if (relaxed && !fused) {
    throw new UnsupportedError('this host has no relaxed SIMD: leave "relaxed" out, or false')
  }
  return fused ?? loadModule()
}

/** Instantiates a module over a memory, synchronously: the module is small and already compiled. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): KernelExports {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } })
  return exports as unknown as KernelExports
}

/** for hosts that are no pages, and have no such policy, such as Cloudflare Workers */
const NO_PAGE = '; or import lowrank/lowrank.wasm, and give it to wasm({ module })'

/** @throws UnsupportedError  as `loadModule` */
export async function compileModule(bytes: Uint8Array<ArrayBuffer>): Promise<WebAssembly.Module> {
  if (typeof WebAssembly === 'undefined') {
    throw new UnsupportedError('this host has no WebAssembly')
  }
  try {
    return await WebAssembly.compile(bytes)
  } catch (cause) {
    // A content security policy and missing SIMD raise the same CompileError. Validation, which no
    // policy forbids, tells them apart.
    throw new UnsupportedError(
      WebAssembly.validate(bytes)
        ? "compiling WebAssembly is not allowed here: add 'wasm-unsafe-eval' to script-src in " +
            `the content security policy${'location' in globalThis ? '' : NO_PAGE}`
        : 'this host does not know WebAssembly SIMD: it is too old for the wasm backend',
      { cause },
    )
  }
}

async function compileRelaxed(): Promise<WebAssembly.Module | null> {
  const [bytes] = await Promise.all([loadBinaries(), loadModule()])
  // Compiled rather than validated, for some engines validate code that their processor cannot run.
  // The plain module has been compiled, so an error is not due to a content security policy.
  return WebAssembly.compile(bytes.relaxed).catch((error) => {
    if (error instanceof WebAssembly.CompileError) return null
    throw error
  })
}
