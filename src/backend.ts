// The interfaces of memory and arithmetic. Backends see layouts and slots, never algorithms or
// bytes of frames. This file imports nothing.

/** A caller's array for one parameter: row-major, as long as the product of its shape. */
export type Dense = Float32Array

/** WebGPU's GPUBuffer, for programs that know that type. */
export type GpuBuffer = typeof globalThis extends { GPUBuffer: { prototype: infer T } } ? T : object

/**
 * One parameter's numbers in a GPU buffer: row-major, without padding. Of the device that the
 * compressor's backend works on.
 */
export interface GpuTensor {
  readonly buffer: GpuBuffer
  /** where the numbers begin, in bytes: a multiple of 4. Default 0. */
  readonly offset?: number
  /** Default 'f32'. What is written as f16 is rounded to even, and saturates at ±65504. */
  readonly type?: 'f32' | 'f16'
}

/** A caller's numbers for one parameter. */
export type Tensor = Dense | GpuTensor

/**
 * A matrix's gradient as backpropagation has it: deltasᵀ · activations over N samples (positions of a
 * convolution and time steps count as such), not multiplied out. For methods of lowrank/factored.
 *
 * Rows are outputs here, as in PyTorch. Where they are inputs (JAX, TensorFlow), what came in are the
 * `deltas`, and the derivatives the `activations`: the gradient is the product the other way round.
 */
export interface Factored {
  /** what came in: N × cols, by row */
  readonly activations: Float32Array
  /** derivatives of the loss by what went out: N × rows, by row */
  readonly deltas: Float32Array
}

/** One parameter's gradient, as `compress` takes it. */
export type Gradient = Tensor | Factored

/** What a backend may return: a value at once (wasm), or later (GPU). */
export type MaybePromise<T> = T | Promise<T>

/** One parameter as the session stores it. All offsets and lengths count floats. */
export interface Parameter {
  readonly index: number
  readonly shape: readonly number[]
  /** product of the shape */
  readonly length: number
  /** the matrix view: rows × cols = length */
  readonly rows: number
  readonly cols: number
  /** columns of its factors; 0: raw, it travels as it is */
  readonly rank: number
  /** where it begins in the residual arena: a multiple of 4 */
  readonly offset: number
  /** where its left factor (rows × rank, by column) begins in a left arena */
  readonly left: number
  /** where its right factor (cols × rank, by column) begins in a right arena */
  readonly right: number
  /** where it begins among the raw values, if raw */
  readonly raw: number
}

/**
 * The table of all parameters over flat arenas, in the order that all workers share.
 *
 * Left, right and raw arenas are packed in parameter order, so that a payload is an arena.
 */
export interface Layout {
  readonly parameters: readonly Parameter[]
  /** those with rank > 0, in order */
  readonly matrices: readonly Parameter[]
  /** those with rank 0, in order */
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
 * What a session keeps, by name. All are floats.
 *
 *   residual  every parameter, in order, unpadded: e between steps, M = g + e within one
 *   raw       the raw parameters among them, in order
 *   left      P̂ or P: rows × rank, by column, one matrix after another
 *   qHat      Q̂, the factor that M is multiplied by: cols × rank, by column
 *   qLocal    the worker's own Q, as decoded from its own frame
 *   qMean     Q̄, the mean of all workers' Q
 */
export type Slot = 'residual' | 'raw' | 'left' | 'qHat' | 'qLocal' | 'qMean'

/** Where an update goes: `into ← scale · update`, or `into ← into + scale · update`. */
export interface Sink {
  readonly into: readonly Tensor[]
  readonly scale: number
  readonly accumulate: boolean
}

/** How Algorithm 2 descends: float32 values. Momentum 0: none is kept, and m is left out. */
export interface OptimizerRates {
  readonly learningRate: number
  readonly momentum: number
  readonly weightDecay: number
}

/** Algorithm 2's last lines where tensors are, with a momentum of its own there: zero at first. */
export interface SessionOptimizer {
  /**
   * Checks tensors that have passed the session's `check`.
   *
   * @param name  how errors call the update
   * @throws TypeError, RangeError
   */
  check(parameters: readonly Tensor[], update: readonly Tensor[], name: string): void
  /** m ← momentum·m + d, x ← x − learningRate·(d + m), with d = g + weightDecay·x */
  step(
    parameters: readonly Tensor[],
    update: readonly Tensor[],
    rates: OptimizerRates,
  ): MaybePromise<void>
  /** The momentum, one array per parameter. */
  read(): MaybePromise<Dense[]>
  write(momentum: readonly Dense[]): MaybePromise<void>
}

/** Memory and arithmetic of one compressor. It owns the slots; phases run in the order called. */
export interface Session {
  /** true: no method returns a promise */
  readonly synchronous: boolean
  /**
   * Arrays in the session's memory, one per parameter; null unless asked for. What lies there is the
   * caller's. Given these, `accumulateProject`, `withdraw` and `settle` copy nothing. `replan` may
   * make them anew, with what they held.
   */
  readonly gradients: readonly Dense[] | null
  /**
   * Checks one of a caller's tensors that is not an array, for reading or for writing.
   *
   * @param length  floats that it must have
   * @param name  how errors call it
   * @throws TypeError, RangeError
   */
  check(tensor: unknown, length: number, name: string): void
  /**
   * M ← M + g for every parameter, left ← M·qHat for the matrices.
   * False where some g or M + g is not finite or not below 2¹⁰⁰, so that factors or what they leave might
   * overflow: then every M is as it was before (to the rounding of g).
   */
  accumulateProject(gradients: readonly Tensor[]): MaybePromise<boolean>
  /** M ← M − g: takes the last `accumulateProject`, of the same gradients, back. */
  withdraw(gradients: readonly Tensor[]): MaybePromise<void>
  /** left ← M·qHat */
  project(): MaybePromise<void>
  /** qLocal ← Mᵀ·left */
  backproject(): MaybePromise<void>
  /**
   * Ends a step: the sink gets left·qMeanᵀ for matrices and `raw` (little-endian float32, at any
   * alignment) for raw parameters; if `deflate`, M ← M − left·qLocalᵀ for matrices.
   * Without a sink, only M changes. Without `raw`, raw parameters are left alone.
   */
  settle(deflate: boolean, raw: Uint8Array | null, sink: Sink | null): MaybePromise<void>
  /** The only way out: the slots' values, one after another, written over `into`. */
  read(slots: readonly Slot[], into: Float32Array): MaybePromise<void>
  /** Overwrites a whole slot from little-endian float32 at any alignment. */
  write(slot: Slot, values: Uint8Array): void
  /** slot ← factor · slot; 0 clears it at once, whatever it held. */
  scale(slot: 'residual' | 'raw', factor: number): MaybePromise<void>
  /**
   * left ← an orthonormal basis of its columns, on the device: accurate as the host's, but with bits
   * of its own. Absent where there is no device.
   */
  orthonormalize?(seed: number, step: number): MaybePromise<void>
  /** Absent where all tensors are arrays. `replan` leaves its momentum alone. */
  readonly optimizer?: SessionOptimizer
  /** Σ x² of each parameter's residual, in float64; within a step, of M */
  norms(): MaybePromise<Float64Array>
  /** A new division into matrices and raw tensors. M stays; the other slots' contents do not. */
  rearrange(layout: Layout): void
  dispose(): void
}

/** A source of kernels and memory; it keeps no state of its own and serves several compressors. */
export interface Backend {
  readonly name: string
  /** @param wishes.resident  whether the session is to lend `gradients` */
  open(layout: Layout, wishes?: { readonly resident?: boolean }): Promise<Session>
}

/**
 * Where random numbers come from: standard normals, elements 0 … length − 1 of one column. The same
 * arguments must give the same bits on every worker.
 *
 * @param use  0: the first Q; 1: the first P; 2, 3: a replaced column of P, of Q; + 4 per further attempt
 */
export type Random = (
  use: number,
  parameter: number,
  column: number,
  step: number,
  length: number,
) => Float32Array

/** What must come out with the same bits on every worker, whatever its backend: always wasm. */
export interface Host {
  /**
   * Makes each matrix's columns orthonormal, in place. Zero and dependent columns are replaced by
   * seeded ones, orthogonal to the rest.
   *
   * @param columns  a whole left or right arena of the plan
   * @param step  part of the seed of replaced columns
   * @param units  replace column k by unit vector k instead, or by the next that will do
   */
  orthonormalize(
    layout: Layout,
    side: Side,
    columns: Float32Array,
    step: number,
    units?: boolean,
  ): void
  /** First factors of a matrix: standard normals, column by column from `from`. */
  fill(parameter: Parameter, side: Side, columns: Float32Array, from: number, step: number): void
}

/** Shape of one matrix and its factors. */
export interface Dims {
  readonly rows: number
  readonly cols: number
  readonly rank: number
}

/**
 * The kernels, each on one matrix. Matrices are row-major; factors lie column by column
 * (`p` rows × rank, `q` cols × rank). Outputs come first and overlap nothing else, except where a
 * kernel changes its operand in place. No kernel allocates or keeps anything.
 */
export interface Kernels {
  readonly name: string
  /** m ← m + g, p ← m·q; false, and m and p as they were, where some |g| or |m + g| is not below 2¹⁰⁰ */
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
   * Makes the columns (rows × rank, by column) an orthonormal basis of their span, in place, from
   * column `from` on. Stops at a column that is zero or depends on those before it and returns its
   * number, for the caller to replace it and go on from there; returns rank when all are done.
   */
  orthonormalize(
    columns: Float32Array,
    rows: number,
    rank: number,
    from?: number,
  ): MaybePromise<number>
  /** x ← standard normals of column `column` of `parameter`: Philox4x32-10, inverse CDF */
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
  /** d ← g + weightDecay·x; m ← momentum·m + d; x ← x − learningRate·(d + m): Algorithm 2, line 13 f. */
  momentum(
    x: Float32Array,
    m: Float32Array,
    g: Float32Array,
    learningRate: number,
    momentum: number,
    weightDecay: number,
  ): MaybePromise<void>
}
