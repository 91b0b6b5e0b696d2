// The interfaces of backends: the memory of a compressor and its arithmetic. A backend knows
// layouts and slots, but neither algorithms nor frames. This file imports nothing.

/** The numbers of one parameter: row-major, as many as the product of its shape. */
export type Dense = Float32Array

/**
 * WebGPU's GPUBuffer. In programs whose types do not include WebGPU, an object with two of its
 * properties, which an ArrayBuffer does not have.
 */
export type GpuBuffer = typeof globalThis extends { GPUBuffer: { prototype: infer T } }
  ? T
  : { readonly size: number; readonly usage: number }

/**
 * The numbers of one parameter in a GPU buffer: row-major, without padding. The buffer must belong
 * to the device of the compressor's backend.
 */
export interface GpuTensor {
  readonly buffer: GpuBuffer
  /** byte at which the numbers begin, a multiple of 4. Default 0. */
  readonly offset?: number
  /** Default 'f32'. Writing f16 rounds to nearest, ties to even, and saturates at ±65504. */
  readonly type?: 'f32' | 'f16'
}

/** The numbers of one parameter, in an array or in a GPU buffer. */
export type Tensor = Dense | GpuTensor

/**
 * The gradient of a matrix as the two factors that backpropagation multiplies: the gradient is
 * deltasᵀ · activations, a sum over N samples. Positions of a convolution and time steps count as
 * samples. For the methods of lowrank/factored.
 *
 * The rows of the matrix are outputs here, as in PyTorch. Where rows are inputs, as in JAX and
 * TensorFlow, swap the two: give the layer's inputs as `deltas` and the derivatives as
 * `activations`.
 */
export interface Factored {
  /** the layer's inputs: N × cols, by row */
  readonly activations: Float32Array
  /** the derivatives of the loss with respect to the layer's outputs: N × rows, by row */
  readonly deltas: Float32Array
}

/** The gradient of one parameter, as `compress` takes it. */
export type Gradient = Tensor | Factored

/** The result of a backend: a value at once (WebAssembly), or a promise of it (GPU). */
export type MaybePromise<T> = T | Promise<T>

/** One parameter and its places in the arenas. All offsets and lengths count floats. */
export interface Parameter {
  readonly index: number
  readonly shape: readonly number[]
  /** product of the shape */
  readonly length: number
  /** the matrix view: rows × cols = length */
  readonly rows: number
  readonly cols: number
  /** columns of its factors; 0: it is raw, which means that it travels uncompressed, or frozen */
  readonly rank: number
  /** true: it does not travel at all, its M is zero, and its update is zero */
  readonly frozen: boolean
  /** its offset in the residual arena, a multiple of 4 */
  readonly offset: number
  /** the offset of its left factor (rows × rank, by column) in a left arena */
  readonly left: number
  /** the offset of its right factor (cols × rank, by column) in a right arena */
  readonly right: number
  /** its offset among the raw values, if it is raw */
  readonly raw: number
}

/**
 * The table of all parameters, in the order that all workers share, with their places in flat
 * arenas.
 *
 * Left, right and raw arenas have no gaps and are in parameter order, so that an arena is what a
 * frame carries.
 */
export interface Layout {
  readonly parameters: readonly Parameter[]
  /** those with rank > 0, in order */
  readonly matrices: readonly Parameter[]
  /** those with rank 0 that are not frozen, in order */
  readonly raws: readonly Parameter[]
  /** floats in the residual arena, padding included */
  readonly arenaFloats: number
  /** Σ length */
  readonly denseFloats: number
  readonly leftFloats: number
  readonly rightFloats: number
  readonly rawFloats: number
}

export type Side = 'left' | 'right'

/**
 * The arrays of a session, by name. All hold float32.
 *
 *   residual  all parameters in order, without padding: e between steps, M = g + e within a step
 *   raw       the raw parameters of `residual`, in order
 *   left      P or P̂: rows × rank, by column, one matrix after another
 *   qHat      Q̂, the factor that M is multiplied by: cols × rank, by column
 *   qLocal    the worker's own Q, as the others decode it from its frame; layout as qHat
 *   qMean     Q̄, the mean of all workers' Q; layout as qHat
 */
export type Slot = 'residual' | 'raw' | 'left' | 'qHat' | 'qLocal' | 'qMean'

/**
 * The destination of an update: into ← scale · update, or, if `accumulate`, into + scale · update.
 */
export interface Sink {
  /** null: this parameter's update is not written */
  readonly into: readonly (Tensor | null)[]
  readonly scale: number
  readonly accumulate: boolean
}

/** The constants of Algorithm 2, as float32. With momentum 0 there is no m. */
export interface OptimizerRates {
  readonly learningRate: number
  readonly momentum: number
  readonly weightDecay: number
}

/**
 * The last lines of Algorithm 2 on the device of the tensors. The momentum m, zero at first, lies
 * there.
 */
export interface SessionOptimizer {
  /**
   * Checks that the optimizer can use these tensors, which `Session.check` has accepted.
   *
   * @param parameters  null, as in `step`: this one, and its momentum, are left alone
   * @param name  how errors call the update
   * @throws TypeError, RangeError
   */
  check(
    parameters: readonly (Tensor | null)[],
    update: readonly (Tensor | null)[],
    name: string,
  ): void
  /** m ← momentum·m + d, x ← x − learningRate·(d + m), with d = g + weightDecay·x */
  step(
    parameters: readonly (Tensor | null)[],
    update: readonly (Tensor | null)[],
    rates: OptimizerRates,
  ): MaybePromise<void>
  /** Reads the momentum m, one array per parameter. */
  read(): MaybePromise<Dense[]>
  write(momentum: readonly Dense[]): MaybePromise<void>
}

/**
 * The memory of one compressor, and its arithmetic. It owns the slots. Calls run in the order made.
 * But for `check`, none checks its arguments.
 */
export interface Session {
  /** true: no method returns a promise */
  readonly synchronous: boolean
  /**
   * Arrays in the session's memory, one per parameter, for the caller to fill; null unless the
   * session was opened with `resident`. `accumulateProject`, `withdraw` and `settle` use these
   * arrays without copying. `rearrange` may replace them by new arrays with the same contents.
   */
  readonly gradients: readonly Dense[] | null
  /**
   * Checks a tensor of the caller that is not an array, to be read or written.
   *
   * @param length  the number of floats that it must have
   * @param name  how errors call it
   * @throws TypeError, RangeError
   */
  check(tensor: unknown, length: number, name: string): void
  /**
   * M ← M + g for every parameter that is not frozen, then left ← M·qHat for the matrices.
   *
   * @param gradients  null: zeros
   * @returns false if an element of g or M + g is not finite, or not below 2¹⁰⁰ in absolute value,
   *   for then the factors or the residual might overflow. Every M is then as before: each element to
   *   1e-6 of the largest of its unit (the blocks that are computed together), whatever the size of g
   */
  accumulateProject(gradients: readonly (Tensor | null)[]): MaybePromise<boolean>
  /**
   * Undoes the last `accumulateProject`, which had the same gradients, as exactly as that would have.
   */
  withdraw(gradients: readonly (Tensor | null)[]): MaybePromise<void>
  /** left ← M·qHat */
  project(): MaybePromise<void>
  /** qLocal ← Mᵀ·left */
  backproject(): MaybePromise<void>
  /**
   * Ends a step. Writes the update to the sink: left·qMeanᵀ for matrices, `raw` for raw parameters.
   * If `deflate`, then also M ← M − left·qLocalᵀ for matrices.
   *
   * @param raw  little-endian float32 at any alignment; null leaves raw parameters of the sink
   *   alone
   * @param sink  null: only M changes
   */
  settle(deflate: boolean, raw: Uint8Array | null, sink: Sink | null): MaybePromise<void>
  /**
   * Copies the slots' values to `into`, one slot after another. Values leave a session only here.
   */
  read(slots: readonly Slot[], into: Float32Array): MaybePromise<void>
  /** Overwrites a whole slot from little-endian float32 at any alignment. */
  write(slot: Slot, values: Uint8Array): void
  /** slot ← factor · slot. The factor 0 writes zeros, even over infinities and NaN. */
  scale(slot: 'residual' | 'raw', factor: number): MaybePromise<void>
  /**
   * left ← an orthonormal basis of the columns of left, computed on the device. As accurate as
   * `Host.orthonormalize`, but the bits depend on the device. Absent on the CPU.
   */
  orthonormalize?(seed: number, step: number): MaybePromise<void>
  /** Absent if all tensors are arrays. `rearrange` does not change its momentum. */
  readonly optimizer?: SessionOptimizer
  /** Σ x² of the residual of each parameter, in float64. Within a step it is that of M. */
  norms(): MaybePromise<Float64Array>
  /**
   * Adopts another layout of the same parameters. M is kept; the contents of other slots are lost.
   */
  rearrange(layout: Layout): void
  dispose(): void
}

/** A provider of sessions. It keeps no state of a compressor and may serve several. */
export interface Backend {
  readonly name: string
  /** @param options.resident  true: the session provides `gradients`. Default false. */
  open(layout: Layout, options?: { readonly resident?: boolean }): Promise<Session>
}

/**
 * A source of random numbers: returns the standard normals of one column, elements 0 … length − 1.
 * Equal arguments must give equal bits on every worker.
 *
 * @param use  0: the first Q. 1: the first P. 2: a replaced column of P. 3: a replaced column of Q.
 *   Each further attempt to replace a column adds 4
 */
export type Random = (
  use: number,
  parameter: number,
  column: number,
  step: number,
  length: number,
) => Float32Array

/**
 * Arithmetic whose results must have the same bits on every worker: in WebAssembly on any backend.
 */
export interface Host {
  /**
   * Makes the columns of each factor orthonormal, in place. A column that is zero or depends on
   * those before it is replaced by seeded normals, made orthogonal to the others.
   *
   * @param columns  a left or right arena of the layout: every matrix's factor, by column
   * @param step  part of the seed of replaced columns
   * @param units  true: replaces column k by unit vector k instead, or by the next one that is
   *   independent of the columns before
   */
  orthonormalize(
    layout: Layout,
    side: Side,
    columns: Float32Array,
    step: number,
    units?: boolean,
  ): void
  /**
   * Fills a matrix's factor in the arena `columns` with standard normals, from column `from` on.
   */
  fill(parameter: Parameter, side: Side, columns: Float32Array, from: number, step: number): void
}

/** The shape of one matrix and its factors. */
export interface Dims {
  readonly rows: number
  readonly cols: number
  readonly rank: number
}

/**
 * The kernels, each for one matrix. Matrices (m, g, y: rows × cols) are row-major. Factors (p: rows
 * × rank, q: cols × rank) are stored by column. Outputs come first and overlap no other operand,
 * unless a kernel changes its operand in place. No kernel allocates or keeps state, and none checks
 * its arguments.
 */
export interface Kernels {
  readonly name: string
  /**
   * m ← m + g, then p ← m·q.
   *
   * @returns false if some |g| or |m + g| is not below 2¹⁰⁰. Then p is unchanged, and so is m: in
   *   place, to 1e-6 of the largest |m| among some rows; otherwise to the bit
   */
  accumulateProject(
    p: Float32Array,
    m: Float32Array,
    g: Float32Array,
    q: Float32Array,
    dims: Dims,
  ): MaybePromise<boolean>
  /** p ← m·q */
  project(p: Float32Array, m: Float32Array, q: Float32Array, dims: Dims): MaybePromise<void>
  /** q ← mᵀ·p */
  backproject(q: Float32Array, m: Float32Array, p: Float32Array, dims: Dims): MaybePromise<void>
  /** y ← scale·p·qᵀ, or y ← y + scale·p·qᵀ */
  reconstruct(
    y: Float32Array,
    p: Float32Array,
    q: Float32Array,
    dims: Dims,
    scale?: number,
    accumulate?: boolean,
  ): MaybePromise<void>
  /** m ← m − p·qᵀ */
  residual(m: Float32Array, p: Float32Array, q: Float32Array, dims: Dims): MaybePromise<void>
  /** reconstruct(y, p, qMean) and residual(m, p, qLocal) in one pass */
  settle(
    y: Float32Array,
    m: Float32Array,
    p: Float32Array,
    qLocal: Float32Array,
    qMean: Float32Array,
    dims: Dims,
    scale?: number,
    accumulate?: boolean,
  ): MaybePromise<void>
  /**
   * Replaces the columns (rows × rank, by column) by an orthonormal basis of their span, in place,
   * from column `from` on.
   *
   * @returns `rank` when all are done; or the index of a column that is zero or depends on those
   *   before it. The caller then replaces this column and calls again with `from` at its index
   */
  orthonormalize(
    columns: Float32Array,
    rows: number,
    rank: number,
    from?: number,
  ): MaybePromise<number>
  /** x ← the standard normals of one column: Philox4x32-10, then the inverse CDF; see `Random` */
  normal(
    x: Float32Array,
    seed: number,
    use: number,
    parameter: number,
    column: number,
    step: number,
  ): MaybePromise<void>
  /** Σ x², in float64 */
  norm(x: Float32Array): MaybePromise<number>
  /** y ← y + a·x */
  accumulate(y: Float32Array, x: Float32Array, a: number): MaybePromise<void>
  /**
   * d ← g + weightDecay·x, m ← momentum·m + d, x ← x − learningRate·(d + m): lines 13 and 14 of
   * Algorithm 2. All operands have the length of x.
   */
  momentum(
    x: Float32Array,
    m: Float32Array,
    g: Float32Array,
    learningRate: number,
    momentum: number,
    weightDecay: number,
  ): MaybePromise<void>
}
