// The options of a compressor: those that all workers must share, those of each worker, and the
// method (PowerSGD, or another algorithm in its place). The shared options that PyTorch's hook or
// epfml/powersgd also have bear the names that they have there.
import type { Algorithm, LoadedState } from './algorithm.ts'
import type { Backend, Host, Layout, MaybePromise, Random } from './backend.ts'
import type { BytesLike } from './bytes.ts'
import { WIRES, type Wire } from './codec/wire/index.ts'
import {
  aFunction,
  bytesIn,
  flag,
  integer,
  knownOptions,
  number,
  oneOf,
  wrongType,
} from './validate.ts'

/**
 * Options that must be equal on all workers. Their hash is in the header of every frame, so that
 * frames of workers that disagree are refused. The rank is not hashed: the header lists the rank of
 * each parameter.
 */
export interface SharedOptions {
  /**
   * Columns of the factors P and Q, an integer from 1 to 65534; clipped to min(rows, cols) of each
   * matrix. A higher rank approximates the gradient better and sends more bytes. Default 4.
   */
  readonly rank?: number
  /**
   * Seed of the first factors and of the columns that replace zero or dependent ones, an integer
   * from 0 to 2³² − 1. Default 0.
   */
  readonly seed?: number
  /**
   * Power iterations in a step, an integer from 1 to 127. k iterations take 2k rounds and send the
   * factors k times. Default 1.
   */
  readonly iterations?: number
  /**
   * A matrix is compressed if floats sent × `minCompressionRate` < rows × cols, where "floats sent"
   * counts all rounds of a step: `iterations` · rank · (rows + cols) for PowerSGD. Otherwise it
   * travels uncompressed. Any number ≥ 0. Default 2.
   */
  readonly minCompressionRate?: number
  /**
   * The number of first steps, aborted ones included, that average gradients uncompressed, in
   * float32 whatever the wire type. An integer from 0 to 2³² − 1, or Infinity. Default 0.
   */
  readonly startCompressingAfter?: number
  /**
   * The Q that each step begins with. true (default): the averaged Q of the last step, so that the
   * power iteration continues. false: new normal numbers in every step. 'fixed': the first ones, in
   * all steps.
   */
  readonly warmStart?: boolean | 'fixed'
  /**
   * Every `refresh` steps the factors are drawn anew, lest their subspace stay orthogonal to what
   * is new in the gradient. (PowerSGD+, arXiv 2509.11254, restarts the subspace too, from an SVD.)
   * An integer from 0 to 2³² − 1. Default 0: never.
   */
  readonly refresh?: number
  /**
   * The residual that a worker keeps of M (its gradient plus the last residual) after a step in
   * which its frame was part of the mean. A worker whose frame was not keeps all of M, except with
   * 'none'.
   *
   * 'local' (default): M − P̂·Qᵀ, with the worker's own Q: what it could not send. It is sent later
   * (Algorithm 2 of arXiv 1905.13727).
   *
   * 'aggregated': M − P̂·Q̄ᵀ, with the averaged Q: what the shared update lacks. The paper's code
   * and PyTorch's hook do this. In exact arithmetic the updates equal those of 'local' as long as
   * every worker takes part in every step and weights never change. A single residual no longer
   * says what its worker has pending: only the sum Σ weight·residual over all workers does. A
   * worker that misses a step keeps its M, and the sum still balances. Changed weights unbalance
   * it, and so does a worker that leaves unless another one takes its residual (`adopt`).
   * Uncompressed parameters are treated as with 'local', except by pytorch().
   *
   * 'none': no residual.
   */
  readonly errorFeedback?: 'local' | 'aggregated' | 'none'
  /**
   * Where the mean P̄ is orthonormalized to P̂. 'host' (default): in WebAssembly, with the same
   * bits on every worker whatever its backend. 'device': by a shader, equally accurate, for a
   * worker that trains alone. Several workers can agree only if their devices compute the same
   * bits: P̂ enters the history hash of the frames, so that frames with different P̂ are not
   * averaged. 'device' needs the backend webgpu().
   */
  readonly orthonormalize?: 'host' | 'device'
  /**
   * The compression algorithm. Default: PowerSGD with full steps. Others are in lowrank/methods,
   * lowrank/baselines and lowrank/factored.
   */
  readonly method?: Method
}

/** The shared options, with the defaults of the method and of the library filled in. */
export type Settings = Required<SharedOptions>

/**
 * The number of columns of a parameter's factors; 0: it travels uncompressed. 'frozen': it does not
 * travel.
 */
export type Rank = number | 'frozen'

/** A parameter: its shape, or an object with its shape and options for this parameter alone. */
export type ParameterSpec =
  | readonly number[]
  | {
      /** as the framework has it; the tensor is row-major */
      readonly shape: readonly number[]
      /**
       * A string of 1 to 255 characters that no other parameter has, for errors and checkpoints. It
       * is hashed into frames, so that workers that list equal shapes in another order are refused.
       * All workers must have the same names. Default: none.
       */
      readonly name?: string
      /**
       * Rows of the matrix view: a product of leading axes, or any divisor of a vector's length.
       * (The tensor is row-major, so any other view is a matter of `shape`.)
       *
       * Default: the first axis, unless splitting the axes at another place at least halves rows +
       * columns; then the place with the smallest sum. So a convolution of TensorFlow.js, [height,
       * width, in, out], has height · width · in rows, and a stack [layers, n, m] has layers · n,
       * with one rank for all layers. `paper()`, `epfml()` and `pytorch()` always take the first
       * axis.
       */
      readonly rows?: number
      /**
       * The rank of this parameter, in place of `SharedOptions.rank`. 'frozen': it does not travel,
       * its update is zero and it has no residual, with any method, until `setRank` says otherwise.
       */
      readonly rank?: number | 'frozen'
      /** false: never compressed. true: always, even a vector or a matrix of one row */
      readonly compress?: boolean
    }

/** All options of `createCompressor`. Those declared here may differ from worker to worker. */
export interface Options extends SharedOptions {
  /** The type in which this worker sends values: 'f32', 'f16', 'bf16' or 'int8'. Default 'f32'. */
  readonly wire?: Wire
  /** This worker's number, an integer from 0 to 2³² − 1; no two workers share one. Default 0. */
  readonly sender?: number
  /** Where the gradient is stored and multiplied. Default: `wasm()`. */
  readonly backend?: Backend
  /**
   * true: `compressor.gradients` are arrays in the backend's memory, for the caller to write
   * gradients into. `compress` and `decompress` do not copy them. They take as much memory as the
   * model. Default false.
   */
  readonly resident?: boolean
  /**
   * A checkpoint to continue from: the bytes of `save`, or a safetensors file with its names. Its
   * ranks take the place of those asked for: by `rank`, in `shapes`, or by the method.
   */
  readonly restore?: BytesLike
  /** A source of random numbers in place of the seeded normals, to replay recorded runs. */
  readonly random?: Random
}

/** The size of what one worker sends in one round. */
export interface Round {
  /** 'summed': each worker receives a mean of the same size. 'gathered': it receives all parts */
  readonly kind: 'summed' | 'gathered'
  /** words of four bytes that no wire type changes, such as indices or bits. Default 0 */
  readonly words?: number
  /** the length of each column of floats; the values of a column may share a scale on the wire */
  readonly columns: readonly number[]
  /** float32 in the header. An average if only some steps have them. Default 0 */
  readonly scalars?: number
}

/** A `ParameterSpec` after its checks. */
export interface Spec {
  readonly name: string | undefined
  readonly shape: readonly number[]
  /** product of the shape */
  readonly length: number
  /** the matrix view: rows × cols = length */
  readonly rows: number
  readonly cols: number
  readonly rank: number | undefined
  /** true: its rank is 'frozen', and `rank` is undefined */
  readonly frozen: boolean
  readonly compress: boolean | undefined
}

/** The arguments of `Method.create`. */
export interface AlgorithmSetup {
  readonly host: Host
  readonly specs: readonly Spec[]
  readonly layout: Layout
  readonly settings: Settings
  /** from a checkpoint; the algorithm draws the factors that are absent */
  readonly loaded: LoadedState
  /** the number of the first step, part of the seed of random factors */
  readonly step: number
}

/** A method's rule for which parameters it compresses. */
export interface Gate {
  /**
   * Whether vectors, and matrices of one row or column, may be compressed. 'never' (default):
   * neither. 'thin': such matrices, but not vectors. 'any': both. `compress: true` overrides this
   * for one parameter.
   */
  readonly narrow?: 'never' | 'thin' | 'any'
  /** the rank that is tried, or one for each parameter. Default: the option `rank` */
  readonly wanted?: number | readonly number[]
  /** floats sent for a matrix in an average step */
  cost(rows: number, cols: number, rank: number, shape: readonly number[]): number
}

/**
 * An algorithm for compressing gradients, for `createCompressor(shapes, { method })`. Functions
 * such as `halfSteps()` of lowrank/methods or `topK()` of lowrank/baselines return one. Its fields
 * are internal.
 */
export interface Method {
  readonly name: string
  /** The method's own options, defaults filled in. They are hashed like the shared options. */
  readonly options?: Readonly<Record<string, unknown>>
  /** The shared options that affect this method. `createCompressor` refuses all others. */
  readonly supportedOptions: readonly (keyof SharedOptions)[]
  /**
   * Checks an entry of `gradients` that may be of a kind that only this method takes, such as
   * factored gradients. A method that has this function takes no GPU tensors.
   *
   * @param name  how errors call the entry
   * @returns false if the entry is not of that kind; then it is checked as a tensor
   * @throws TypeError, RangeError  if the entry is of that kind, but does not fit `spec`
   */
  accepts?(entry: unknown, spec: Spec, name: string): boolean
  /**
   * true: the method stores the factors itself. The session then treats every parameter as
   * uncompressed, and M stays zero.
   */
  readonly ownsFactors?: boolean
  /** The method's defaults of shared options, in place of the library's. */
  readonly defaults?: Partial<SharedOptions>
  /** @throws RangeError  naming a shared option whose value the method does not support */
  check?(settings: Settings): void
  /**
   * true: the matrix view is the first axis against the rest whatever the shape, as in the program
   * that the method computes the results of.
   */
  readonly firstAxis?: boolean
  /** The rule by which `ranks` decides, for `plan` to explain. Absent: all parameters are raw. */
  gate?(settings: Settings): Gate
  /**
   * The rank of each parameter; 0: it travels uncompressed. It need not know about frozen ones.
   *
   * @param wanted  a rank for all parameters, or one for each
   */
  ranks(
    specs: readonly Spec[],
    settings: Settings,
    wanted: number | readonly number[],
  ): readonly number[]
  /**
   * The rounds of each step in one cycle of steps. The cycle has one step unless steps differ, as
   * half-steps do that send P and Q in turn.
   */
  cycle(layout: Layout, settings: Settings): readonly (readonly Round[])[]
  create(setup: AlgorithmSetup): MaybePromise<Algorithm>
}

/** The highest rank that a frame can carry: 65535 means frozen there. */
export const MOST_RANK = 0xfffe

const DEFAULTS: Omit<Settings, 'method'> = {
  rank: 4,
  seed: 0,
  iterations: 1,
  minCompressionRate: 2,
  startCompressingAfter: 0,
  warmStart: true,
  refresh: 0,
  errorFeedback: 'local',
  orthonormalize: 'host',
}

/** Hashed only when not the default, so that new options keep existing hashes. */
const UNHASHED_DEFAULTS: Readonly<Record<string, unknown>> = {
  refresh: 0,
  orthonormalize: 'host',
  method: 'powersgd',
}

const OWN_OPTIONS = ['wire', 'sender', 'backend', 'resident', 'restore', 'random']
const SHARED_OPTIONS = [...Object.keys(DEFAULTS), 'method'] as (keyof Settings)[]

/**
 * The shared options with defaults filled in. An option that is `undefined` counts as absent.
 *
 * @param defaultMethod  the method if `options` has none
 * @throws TypeError, RangeError  naming the option, with the expected and the actual value
 */
export function settingsOf(options: Options, defaultMethod: Method): Settings {
  knownOptions(options, [...SHARED_OPTIONS, ...OWN_OPTIONS])
  const defined = Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined))
  const { method = defaultMethod } = defined as SharedOptions
  if (typeof method?.create !== 'function') {
    throw wrongType('method', 'a method, halfSteps() say', method)
  }
  for (const name of Object.keys(options)) {
    if (OWN_OPTIONS.includes(name) || name === 'method' || !(name in defined)) continue
    if (!method.supportedOptions.includes(name as keyof Settings)) {
      throw new TypeError(`"${name}": the method ${method.name} has no use for it`)
    }
  }
  const all: Settings = { ...DEFAULTS, ...method.defaults, ...defined, method }
  integer('rank', all.rank, 1, MOST_RANK)
  integer('seed', all.seed, 0, 0xffffffff)
  integer('iterations', all.iterations, 1, 127)
  integer('refresh', all.refresh, 0, 0xffffffff)
  number('minCompressionRate', all.minCompressionRate, '≥ 0', (rate) => rate >= 0)
  if (all.startCompressingAfter !== Number.POSITIVE_INFINITY) {
    integer('startCompressingAfter', all.startCompressingAfter, 0, 0xffffffff)
  }
  oneOf('warmStart', all.warmStart, [true, false, 'fixed'])
  oneOf('errorFeedback', all.errorFeedback, ['local', 'aggregated', 'none'])
  oneOf('orthonormalize', all.orthonormalize, ['host', 'device'])
  method.check?.(all)
  return Object.fromEntries(SHARED_OPTIONS.map((name) => [name, all[name]])) as unknown as Settings
}

/**
 * The options of this worker alone, checked, with defaults filled in.
 *
 * @throws TypeError, RangeError  naming the option
 */
export function ownOptionsOf(options: Options): { sender: number; wire: Wire; resident: boolean } {
  const { sender = 0, wire = 'f32', backend, resident = false, restore, random } = options
  integer('sender', sender, 0, 0xffffffff)
  oneOf('wire', wire, WIRES)
  if (backend !== undefined && typeof backend?.open !== 'function') {
    throw wrongType('backend', 'a backend, wasm() say', backend)
  }
  flag('resident', resident)
  if (restore !== undefined) bytesIn('restore', restore)
  if (random !== undefined) aFunction('random', random)
  return { sender, wire, resident }
}

/**
 * The shared options as JSON, sorted by name, the same text for equal options. It is part of
 * `configHash`, and `save` writes it into the checkpoint. The rank is left out, and so are newer
 * options at their default: see `UNHASHED_DEFAULTS`.
 */
export function describe(settings: Settings): string {
  const shared = Object.entries({ ...settings, method: nameOf(settings.method) })
  const hashed = shared.filter(
    ([name, value]) => name !== 'rank' && value !== UNHASHED_DEFAULTS[name],
  )
  return JSON.stringify(Object.fromEntries(hashed.sort().map(([name, v]) => [name, String(v)])))
}

/** The method's name, and its own options if it has any. */
function nameOf({ name, options = {} }: Method): string {
  const own = Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1))
  return own.length === 0 ? name : `${name} ${JSON.stringify(Object.fromEntries(own))}`
}
