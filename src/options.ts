// What may be asked for: options that all workers share, each worker's own, and the method, PowerSGD or
// whatever else can stand in its place. Shared options are named as in PyTorch's hook and epfml/powersgd.
import type { Algorithm, LoadedState } from './algorithm.ts'
import type { Backend, Host, Layout, MaybePromise, Random } from './backend.ts'
import { WIRES, type Wire } from './codec/wire/index.ts'
import { anObject, integer, oneOf, show } from './validate.ts'

/** Options that all workers must share. They are hashed into every frame, except the rank, which travels. */
export interface SharedOptions {
  /** Columns of the factors, clipped to min(rows, cols). More is closer and larger. Default 4. */
  readonly rank?: number
  /** Seed of the first factors and of replaced columns. Default 0. */
  readonly seed?: number
  /** Power iterations a step: k means 2k rounds and k times the factors' bytes. Default 1. */
  readonly iterations?: number
  /** A matrix is compressed iff the floats really sent × this are fewer than its own. Default 2. */
  readonly minCompressionRate?: number
  /** So many steps, aborted ones included, are averaged uncompressed (float32). Default 0. */
  readonly startCompressingAfter?: number
  /** What Q begins with: the last step's (true), fresh numbers (false), the first ones for ever. */
  readonly warmStart?: boolean | 'fixed'
  /**
   * Every so many steps, factors begin anew with fresh numbers: against a subspace that stays
   * orthogonal to what is new in the gradient (PowerSGD+, arXiv 2509.11254, restarts it too, from an
   * SVD). Default 0: never.
   */
  readonly refresh?: number
  /**
   * What a worker keeps of M, its gradient and residual, when its frame has counted.
   *
   * 'local' (default): M − P̂·Qᵀ, what it could not send itself; it goes out later (Algorithm 2).
   * 'aggregated': M − P̂·Q̄ᵀ, what is missing in the update that all share, as the paper's code and
   * PyTorch's hook have it. In exact arithmetic the updates are those of 'local' while everyone takes
   * part in every step, with weights that never change. But one residual no longer tells what its
   * worker has pending: only Σ weight·residual over the fleet does. A worker that misses a step keeps
   * its M, and that sum still balances; other weights, or leaving without `adopt`, unbalance it. Raw
   * tensors: as 'local', but for pytorch().
   * 'none': nothing.
   */
  readonly errorFeedback?: 'local' | 'aggregated' | 'none'
  /**
   * Where P̂ is made of P̄. 'host' (default): in WebAssembly, with the same bits on every worker,
   * whatever its backend. 'device': by a shader, as accurate, for a worker that is alone. Several may
   * only agree if their devices are alike: P̂ is read back, and its bits join the history that frames
   * carry, so that those whose bits differ are not averaged. Backends: webgpu() alone.
   */
  readonly orthonormalize?: 'host' | 'device'
  /** Default: PowerSGD, full steps. Others: lowrank/methods, lowrank/baselines, lowrank/factored. */
  readonly method?: Method
}

/** The shared options with the method's and all other defaults written out. */
export type Settings = Required<SharedOptions>

/** A parameter: its shape, or its shape with wishes of its own. */
export type ParameterSpec =
  | readonly number[]
  | {
      /** as the framework has it; row-major */
      readonly shape: readonly number[]
      /** rows of the matrix view, for layouts whose first axis is not the output; divides the length */
      readonly rows?: number
      /** instead of the rank of all */
      readonly rank?: number
      /** false: always raw. true: always compressed, vectors and single rows as well */
      readonly compress?: boolean
    }

/** Options that are each worker's own. */
export interface Options extends SharedOptions {
  /** The type of the values this worker sends. Default 'f32'. */
  readonly wire?: Wire
  /** This worker's number: an integer from 0 to 2³² − 1, unlike any other's. Default 0. */
  readonly sender?: number
  /** Default: `wasm()`. */
  readonly backend?: Backend
  /**
   * true: `compressor.gradients` are arrays inside the backend's memory, to write gradients into: what
   * is given to `compress` and `decompress` there is not copied. As much memory as the model. Default
   * false.
   */
  readonly resident?: boolean
  /** The bytes of `save`, or any safetensors file with its names. */
  readonly restore?: Uint8Array
  /** Instead of the seeded normals, to replay recorded runs. */
  readonly random?: Random
}

/** What one worker sends in one round. */
export interface Round {
  /** summed: it receives a mean of the same size. gathered: it receives everyone's */
  readonly kind: 'summed' | 'gathered'
  /** words of four bytes that no wire type changes: indices, bits */
  readonly words?: number
  /** lengths of the columns of floats: what may share a scale on the wire */
  readonly columns: readonly number[]
  /** float32 in the header; on the average, where only some steps have them */
  readonly scalars?: number
}

/** A parameter as it was asked for, checked. */
export interface Spec {
  readonly shape: readonly number[]
  readonly length: number
  /** the matrix view: rows × cols = length */
  readonly rows: number
  readonly cols: number
  readonly rank: number | undefined
  readonly compress: boolean | undefined
}

/** What an algorithm is made with. */
export interface AlgorithmSetup {
  readonly host: Host
  readonly specs: readonly Spec[]
  readonly layout: Layout
  readonly settings: Settings
  /** from a checkpoint; what is absent is drawn */
  readonly loaded: LoadedState
  /** the number of the first step, part of the seed */
  readonly step: number
}

/**
 * A way to compress gradients, for `createCompressor(shapes, { method })`. Made by functions such as
 * `halfSteps()` of lowrank/methods or `topK()` of lowrank/baselines; its fields are the library's own.
 */
export interface Method {
  readonly name: string
  /** Its own options, written out: workers must agree on them as on shared options. */
  readonly options?: Readonly<Record<string, unknown>>
  /** The shared options that mean something to it: others are refused. */
  readonly supportedOptions: readonly (keyof SharedOptions)[]
  /**
   * Of methods that take more than tensors, and of these arrays alone: checks an entry of `gradients`.
   *
   * @param name  how errors call it
   * @returns false if it is none of theirs
   * @throws TypeError, RangeError
   */
  accepts?(entry: unknown, spec: Spec, name: string): boolean
  /** true: factors are its own affair; its session has whole tensors alone, all raw, and M stays zero */
  readonly ownsFactors?: boolean
  /** Its own defaults of them. */
  readonly defaults?: Partial<SharedOptions>
  /** @throws RangeError  naming a shared option that it cannot do as asked */
  check?(settings: Settings): void
  /**
   * The rank of each parameter; 0: it travels raw.
   *
   * @param wanted  for all, or one per parameter
   */
  ranks(
    specs: readonly Spec[],
    settings: Settings,
    wanted: number | readonly number[],
  ): readonly number[]
  /** What one worker sends in the steps of one cycle: most methods' steps are all alike. */
  cycle(layout: Layout, settings: Settings): readonly (readonly Round[])[]
  create(making: AlgorithmSetup): MaybePromise<Algorithm>
}

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

/** Hashed only where they are others: so they could come without changing anyone's hash. */
const UNHASHED_DEFAULTS: Readonly<Record<string, unknown>> = {
  refresh: 0,
  orthonormalize: 'host',
  method: 'powersgd',
}

const OWN_OPTIONS = ['wire', 'sender', 'backend', 'resident', 'restore', 'random']
const SHARED_OPTIONS = [...Object.keys(DEFAULTS), 'method'] as (keyof Settings)[]

/**
 * Shared options with defaults filled in.
 *
 * @param usual  the method, if none is asked for
 * @throws TypeError, RangeError  naming the option, what was expected and what came
 */
export function settingsOf(options: Options, usual: Method): Settings {
  anObject(options)
  const given = Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined))
  const { method = usual } = given as SharedOptions
  if (typeof method?.create !== 'function') {
    throw new TypeError(`"method": expected a method, halfSteps() say, got ${show(method)}`)
  }
  for (const name of Object.keys(options)) {
    if (OWN_OPTIONS.includes(name)) continue
    if (!SHARED_OPTIONS.includes(name as keyof Settings))
      throw new TypeError(`"${name}": no such option`)
    if (name === 'method' || !(name in given)) continue
    if (!method.supportedOptions.includes(name as keyof Settings)) {
      throw new TypeError(`"${name}": the method ${method.name} has no use for it`)
    }
  }
  const all: Settings = { ...DEFAULTS, ...method.defaults, ...given, method }
  integer('rank', all.rank, 1, 65535)
  integer('seed', all.seed, 0, 0xffffffff)
  integer('iterations', all.iterations, 1, 127)
  integer('refresh', all.refresh, 0, 0xffffffff)
  if (typeof all.minCompressionRate !== 'number' || !(all.minCompressionRate >= 0)) {
    throw new RangeError(`"minCompressionRate": expected ≥ 0, got ${show(all.minCompressionRate)}`)
  }
  if (all.startCompressingAfter !== Number.POSITIVE_INFINITY) {
    integer('startCompressingAfter', all.startCompressingAfter, 0, 0xffffffff)
  }
  oneOf('warmStart', all.warmStart, [true, false, 'fixed'])
  oneOf('errorFeedback', all.errorFeedback, ['local', 'aggregated', 'none'])
  oneOf('orthonormalize', all.orthonormalize, ['host', 'device'])
  method.check?.(all)
  return Object.fromEntries(SHARED_OPTIONS.map((name) => [name, all[name]])) as unknown as Settings
}

/** What is each worker's own, checked. */
export function ownOptionsOf(options: Options): { sender: number; wire: Wire; resident: boolean } {
  const { sender = 0, wire = 'f32', backend, resident = false, random } = options
  integer('sender', sender, 0, 0xffffffff)
  oneOf('wire', wire, WIRES)
  if (backend !== undefined && typeof backend?.open !== 'function') {
    throw new TypeError(`"backend": expected a backend, wasm() say, got ${show(backend)}`)
  }
  oneOf('resident', resident, [true, false])
  if (random !== undefined && typeof random !== 'function') {
    throw new TypeError(`"random": expected a function, got ${show(random)}`)
  }
  return { sender, wire, resident }
}

/**
 * The shared options as text, the same for equal options: what is hashed and what `save` keeps. Some
 * are in it only where they are unusual: more of them will change nobody else's.
 */
export function describe(settings: Settings): string {
  const shared = Object.entries({ ...settings, method: nameOf(settings.method) })
  const told = shared.filter(
    ([name, value]) => name !== 'rank' && value !== UNHASHED_DEFAULTS[name],
  )
  return JSON.stringify(Object.fromEntries(told.sort().map(([name, v]) => [name, String(v)])))
}

/** For the hash of what workers must agree on. */
function nameOf({ name, options = {} }: Method): string {
  const own = Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1))
  return own.length === 0 ? name : `${name} ${JSON.stringify(Object.fromEntries(own))}`
}
