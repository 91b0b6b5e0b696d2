// What workers agree on: options, named as in PyTorch's hook and epfml/powersgd; and the method, PowerSGD or
// whatever else can stand in its place. A value, so that a program has only those in it that it names.
import type { Algorithm, Host, Loaded, MaybePromise, Plan } from './seam.ts'

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
export interface Making {
  readonly host: Host
  readonly specs: readonly Spec[]
  readonly plan: Plan
  readonly settings: Settings
  /** from a checkpoint; what is absent is drawn */
  readonly loaded: Loaded
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
  readonly heeds: readonly (keyof SharedOptions)[]
  /**
   * Of methods that take more than tensors, and of these arrays alone: checks an entry of `gradients`.
   *
   * @param name  how errors call it
   * @returns false if it is none of theirs
   * @throws TypeError, RangeError
   */
  takes?(entry: unknown, spec: Spec, name: string): boolean
  /** true: factors are its own affair; its session has whole tensors alone, all raw, and M stays zero */
  readonly whole?: boolean
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
  cycle(plan: Plan, settings: Settings): readonly (readonly Round[])[]
  create(making: Making): MaybePromise<Algorithm>
}

/** For the hash of what workers must agree on. */
export function nameOf({ name, options = {} }: Method): string {
  const own = Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1))
  return own.length === 0 ? name : `${name} ${JSON.stringify(Object.fromEntries(own))}`
}
