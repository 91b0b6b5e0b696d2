// Checks of arguments. Errors name the argument, the expected and the actual value.
import type { Gradient } from './backend.ts'
import type { Bytes } from './bytes.ts'

/** A short text for a value, for error messages. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 80))
  if (typeof value === 'function') return 'a function'
  if (typeof value !== 'object' || value === null) return String(value)
  const { name } = Object.getPrototypeOf(value)?.constructor ?? {}
  return typeof name === 'string' && name ? name : 'an object'
}

// `instanceof` would refuse values of another realm: of an iframe, of node:vm, or of a test runner
// such as jest or vitest with jsdom.

/** Whether this is a Float32Array, of any realm. */
export function isFloats(value: unknown): value is Float32Array {
  return ArrayBuffer.isView(value) && tagOf(value) === 'Float32Array'
}

/**
 * A plain Uint8Array over the bytes of a Uint8Array or an ArrayBuffer, of any realm. Subclasses
 * differ: the `slice` of a Buffer is a view. The bytes of a SharedArrayBuffer are copied, for
 * another thread could change them after they have been checked.
 *
 * @throws TypeError  if it is neither
 */
export function bytesIn(name: string, value: unknown): Bytes {
  const view = ArrayBuffer.isView(value)
  const tag = tagOf(value)
  if (tag !== (view ? 'Uint8Array' : 'ArrayBuffer') && (view || tag !== 'SharedArrayBuffer')) {
    throw new TypeError(`"${name}": expected a Uint8Array or an ArrayBuffer, got ${show(value)}`)
  }
  const { byteLength } = value as Bytes
  if (byteLength === 0) return new Uint8Array(0) // of a detached buffer there is no view
  const buffer = view ? value.buffer : (value as ArrayBuffer)
  const bytes = new Uint8Array(buffer as ArrayBuffer, view ? value.byteOffset : 0, byteLength)
  return tagOf(buffer) === 'ArrayBuffer' ? bytes : bytes.slice()
}

function tagOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1)
}

/** @throws TypeError, RangeError  unless the value is an integer from `least` to `most` */
export function integer(name: string, value: unknown, least: number, most: number): void {
  if (typeof value !== 'number') {
    throw new TypeError(`"${name}": expected a number, got ${show(value)}`)
  }
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`"${name}": expected an integer from ${least} to ${most}, got ${value}`)
  }
}

/** @throws TypeError  unless the value is a boolean */
export function flag(name: string, value: unknown): void {
  if (typeof value === 'boolean') return
  throw new TypeError(`"${name}": expected true or false, got ${show(value)}`)
}

/** @throws RangeError  unless the value is one of `values` */
export function oneOf(name: string, value: unknown, values: readonly unknown[]): void {
  if (values.includes(value)) return
  const expected = values.map(show).join(', ')
  throw new RangeError(`"${name}": expected one of ${expected}, got ${show(value)}`)
}

/** Returns the options. @throws TypeError  unless they are an object */
export function anObject<T extends object>(options: T, expected = 'an object'): T {
  if (typeof options === 'object' && options !== null) return options
  throw new TypeError(`"options": expected ${expected}, got ${show(options)}`)
}

/** @throws TypeError  naming the first of these options, if any: they are unknown */
export function noOthers(others: object): void {
  for (const name of Object.keys(others)) throw new TypeError(`"${name}": no such option`)
}

/** The size that a tensor must have. */
interface Shaped {
  readonly shape: readonly number[]
  readonly length: number
}

/**
 * Checks that there is one tensor per parameter, that each has as many numbers as its shape, and
 * that either all are arrays or none is.
 *
 * @param name  how errors call the tensors
 * @param checkOther  checks an entry that is not a Float32Array
 * @param accepts  `Method.accepts`. If there is one, entries that it does not accept must be arrays
 * @throws TypeError, RangeError  naming the entry
 */
export function checkTensors<S extends Shaped>(
  tensors: readonly Gradient[],
  specs: readonly S[],
  name: string,
  checkOther: (tensor: unknown, length: number, name: string) => void,
  accepts?: (entry: unknown, spec: S, name: string) => boolean,
): void {
  if (!Array.isArray(tensors)) {
    throw new TypeError(`"${name}": expected an array, got ${show(tensors)}`)
  }
  if (tensors.length !== specs.length) {
    throw new RangeError(`"${name}": expected ${specs.length} entries, got ${tensors.length}`)
  }
  const arrays = accepts !== undefined || isFloats(tensors[0])
  for (const [i, spec] of specs.entries()) {
    const { length, shape } = spec
    const tensor: unknown = tensors[i]
    if (accepts?.(tensor, spec, `${name}[${i}]`)) continue
    if (!isFloats(tensor)) {
      checkOther(tensor, length, `${name}[${i}]`)
      if (!arrays) continue
    } else if (arrays) {
      if (tensor.length === length) continue
      throw new RangeError(
        `"${name}[${i}]": expected ${length} floats for shape [${shape.join(', ')}], ` +
          `got ${tensor.length}`,
      )
    }
    throw new TypeError(`"${name}[${i}]": expected arrays or GPU buffers, not some of each`)
  }
}
