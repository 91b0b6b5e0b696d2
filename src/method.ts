// What a method is: PowerSGD, and whatever else can stand in its place. A value, so that a program has
// only those in it that it names.
import type { Settings, SharedOptions } from './options.ts'
import type { Algorithm, Host, Loaded, MaybePromise, Plan } from './seam.ts'

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
