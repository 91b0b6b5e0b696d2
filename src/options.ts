// What a caller may ask for: a worker's own options, defaults, checks.
import type { Wire } from './codec/floats.ts'
import { type Method, nameOf, type Settings, type SharedOptions } from './method.ts'
import type { Backend, Random } from './seam.ts'

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
const USUAL: Readonly<Record<string, unknown>> = {
  refresh: 0,
  orthonormalize: 'host',
  method: 'powersgd',
}

const WIRES: readonly Wire[] = ['f32', 'f16', 'bf16', 'int8']
const LOCAL = ['wire', 'sender', 'backend', 'resident', 'restore', 'random']
const SHARED = [...Object.keys(DEFAULTS), 'method'] as (keyof Settings)[]

/**
 * Shared options with defaults filled in.
 *
 * @param usual  the method, if none is asked for
 * @throws TypeError, RangeError  naming the option, what was expected and what came
 */
export function settingsOf(options: Options, usual: Method): Settings {
  if (typeof options !== 'object' || options === null) {
    throw new TypeError(`"options": expected an object, got ${show(options)}`)
  }
  const given = Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined))
  const { method = usual } = given as SharedOptions
  if (typeof method?.create !== 'function') {
    throw new TypeError(`"method": expected a method, halfSteps() say, got ${show(method)}`)
  }
  for (const name of Object.keys(options)) {
    if (LOCAL.includes(name)) continue
    if (!SHARED.includes(name as keyof Settings)) throw new TypeError(`"${name}": no such option`)
    if (name === 'method' || !(name in given)) continue
    if (!method.heeds.includes(name as keyof Settings)) {
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
  return Object.fromEntries(SHARED.map((name) => [name, all[name]])) as unknown as Settings
}

/** What is each worker's own, checked. */
export function localOf(options: Options): { sender: number; wire: Wire; resident: boolean } {
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
  const told = shared.filter(([name, value]) => name !== 'rank' && value !== USUAL[name])
  return JSON.stringify(Object.fromEntries(told.sort().map(([name, v]) => [name, String(v)])))
}

/** @throws TypeError, RangeError  if it is no integer from `least` to `most` */
export function integer(name: string, value: unknown, least: number, most: number): void {
  if (typeof value !== 'number') {
    throw new TypeError(`"${name}": expected a number, got ${show(value)}`)
  }
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`"${name}": expected an integer from ${least} to ${most}, got ${value}`)
  }
}

function oneOf(name: string, value: unknown, values: readonly unknown[]): void {
  if (!values.includes(value)) {
    const expected = values.map(show).join(', ')
    throw new RangeError(`"${name}": expected one of ${expected}, got ${show(value)}`)
  }
}

/** A value as an error message shows it. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'object' && value !== null) return value.constructor?.name ?? 'an object'
  return typeof value === 'function' ? 'a function' : String(value)
}
