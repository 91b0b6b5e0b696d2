// Checks of arguments. Errors name the argument, the expected and the actual value.
import type { Gradient } from './backend.ts'
import type { Bytes } from './bytes.ts'

/** A short text for a value, for error messages. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 80))
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value !== 'object' || value === null) return String(value)
  const { name } = Object.getPrototypeOf(value)?.constructor ?? {}
  return typeof name === 'string' && name ? name : 'an object'
}

/** The error for an argument of a wrong type. */
export function wrongType(name: string, expected: string, value: unknown): TypeError {
  return new TypeError(`"${name}": expected ${expected}, got ${show(value)}`)
}

/** The error for an argument of the right type that has a wrong value. */
export function wrongValue(name: string, expected: string, value: unknown): RangeError {
  return new RangeError(`"${name}": expected ${expected}, got ${show(value)}`)
}

// `instanceof` would refuse values of another realm: of an iframe, of node:vm, or of a test runner
// such as jest or vitest with jsdom.

/** Whether this is a Float32Array, of any realm. */
export function isFloats(value: unknown): value is Float32Array {
  return ArrayBuffer.isView(value) && tagOf(value) === 'Float32Array'
}

/**
 * A plain Uint8Array over the bytes of a Uint8Array or an ArrayBuffer, of any realm: the very value,
 * if it is one. Subclasses differ: the `slice` of a Buffer is a view. The bytes of a
 * SharedArrayBuffer are copied, for another thread could change them after they have been checked.
 *
 * @param expected  for the message
 * @throws TypeError  if it is neither
 */
export function bytesIn(
  name: string,
  value: unknown,
  expected = 'a Uint8Array or an ArrayBuffer',
): Bytes {
  const view = ArrayBuffer.isView(value)
  const tag = tagOf(value)
  if (tag !== (view ? 'Uint8Array' : 'ArrayBuffer') && (view || tag !== 'SharedArrayBuffer')) {
    throw wrongType(name, expected, value)
  }
  const { byteLength } = value as Bytes
  if (byteLength === 0) return new Uint8Array(0) // of a detached buffer there is no view
  const buffer = view ? value.buffer : (value as ArrayBuffer)
  const plain = view && Object.getPrototypeOf(value) === Uint8Array.prototype
  const bytes = plain
    ? (value as Bytes)
    : new Uint8Array(buffer as ArrayBuffer, view ? value.byteOffset : 0, byteLength)
  return tagOf(buffer) === 'ArrayBuffer' ? bytes : bytes.slice()
}

function tagOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1)
}

/** @throws TypeError, RangeError  unless the value is a number for which `valid` holds */
export function number(
  name: string,
  value: unknown,
  expected: string,
  valid: (value: number) => boolean,
): void {
  if (typeof value !== 'number') throw wrongType(name, 'a number', value)
  if (!valid(value)) throw wrongValue(name, expected, value)
}

/** @throws TypeError, RangeError  unless the value is a number that is finite in float32 */
export function aFloat(name: string, value: unknown): void {
  number(name, value, 'a finite float32', (n) => Number.isFinite(Math.fround(n)))
}

/** @throws TypeError, RangeError  unless the value is an integer from `least` to `most` */
export function integer(name: string, value: unknown, least: number, most: number): void {
  const valid = (n: number) => Number.isInteger(n) && n >= least && n <= most
  number(name, value, `an integer from ${least} to ${most}`, valid)
}

/** @throws TypeError  unless the value is a boolean */
export function flag(name: string, value: unknown): void {
  if (typeof value !== 'boolean') throw wrongType(name, 'true or false', value)
}

/** @throws TypeError  unless the value is a function */
export function aFunction(name: string, value: unknown): void {
  if (typeof value !== 'function') throw wrongType(name, 'a function', value)
}

/** @throws RangeError  unless the value is one of `values` */
export function oneOf(name: string, value: unknown, values: readonly unknown[]): void {
  if (!values.includes(value))
    throw wrongValue(name, `one of ${values.map(show).join(', ')}`, value)
}

/**
 * Checks a list. It may have holes: go through it with `for … of` or `Array.from`, which find them.
 *
 * @param things  its elements, for the message
 * @throws TypeError, RangeError  unless it is an array of one element or more
 */
export function aList(name: string, list: unknown, things: string): void {
  if (!Array.isArray(list)) throw wrongType(name, `an array of ${things}`, list)
  if (list.length === 0) throw new RangeError(`"${name}": expected at least one, got none`)
}

/**
 * @throws TypeError  unless the value is a plain object: no array, map, promise, …, and not of a
 *   class, whose getters would be overlooked
 */
export function anObject(name: string, value: unknown, expected: string): void {
  // A module's namespace is an object, too. Another realm has another Object.prototype.
  if (typeof value === 'object' && /^(Object|Module)$/.test(tagOf(value))) {
    const prototype = Object.getPrototypeOf(value)
    if (prototype === null || Object.getPrototypeOf(prototype) === null) return
    throw new TypeError(`"${name}": expected a plain object, got one that inherits from another`)
  }
  throw wrongType(name, expected, value)
}

/**
 * Returns the options.
 *
 * @param known  the names that they may have
 * @param name  how errors call them
 * @param or  what may stand in their place, for the message
 * @throws TypeError  unless they are an object with these names alone
 */
export function knownOptions<T extends object>(
  options: T,
  known: readonly string[],
  name = 'options',
  or = '',
): T {
  anObject(name, options, `${or}{ ${known.join(', ')} }`)
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue
    const full = name === 'options' ? key : `${name}.${key}`
    const others = known.join(', ') || 'none'
    throw new TypeError(`"${full}": no such option; there are: ${others}`)
  }
  return options
}

/** Checks the arguments of a function that has no options. @throws TypeError  naming the first */
export function takesNone([options = {}]: readonly unknown[]): void {
  knownOptions(options as object, [])
}

/** How errors call an entry of a list: with the parameter's name, if it has one. */
export function labelOf(entry: string, name: string | undefined): string {
  return name === undefined ? entry : `${entry} '${name}'`
}

/** The size that a tensor must have. */
interface Shaped {
  readonly name?: string | undefined
  readonly shape: readonly number[]
  readonly length: number
}

/**
 * Checks that there is one tensor per parameter, that each has as many numbers as its shape, and
 * that either all are arrays or none is.
 *
 * @param name  how errors call the tensors
 * @param checkOther  checks an entry that is not a Float32Array, which may be null
 * @param accepts  `Method.accepts`. If there is one, entries that it does not accept must be arrays
 * @throws TypeError, RangeError  naming the entry
 */
export function checkTensors<S extends Shaped>(
  tensors: readonly (Gradient | null)[],
  specs: readonly S[],
  name: string,
  checkOther: (tensor: unknown, length: number, name: string, index: number) => void,
  accepts?: (entry: unknown, spec: S, name: string) => boolean,
): void {
  if (!Array.isArray(tensors)) throw wrongType(name, 'an array', tensors)
  if (tensors.length !== specs.length) {
    throw new RangeError(`"${name}": expected ${specs.length} entries, got ${tensors.length}`)
  }
  const first = tensors.find((tensor) => tensor !== null)
  const arrays = accepts !== undefined || isFloats(first)
  for (const [i, spec] of specs.entries()) {
    const { length, shape } = spec
    const tensor: unknown = tensors[i]
    const at = labelOf(`${name}[${i}]`, spec.name)
    if (accepts?.(tensor, spec, at)) continue
    if (!isFloats(tensor)) {
      checkOther(tensor, length, at, i)
      if (!arrays || tensor === null) continue
    } else if (arrays) {
      if (tensor.length === length) continue
      throw new RangeError(
        `"${at}": expected ${length} floats for shape [${shape.join(', ')}], ` +
          `got ${tensor.length}`,
      )
    }
    throw new TypeError(`"${at}": expected arrays or GPU buffers, not some of each`)
  }
}
