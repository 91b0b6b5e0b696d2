// Checks of arguments. Errors name the argument, what was expected and what came.
import type { Gradient } from './backend.ts'

/** A value as an error message shows it. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'object' && value !== null) return value.constructor?.name ?? 'an object'
  return typeof value === 'function' ? 'a function' : String(value)
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

/** @throws TypeError  if it is neither true nor false */
export function flag(name: string, value: unknown): void {
  if (typeof value === 'boolean') return
  throw new TypeError(`"${name}": expected true or false, got ${show(value)}`)
}

/** @throws RangeError  if it is none of the values */
export function oneOf(name: string, value: unknown, values: readonly unknown[]): void {
  if (values.includes(value)) return
  const expected = values.map(show).join(', ')
  throw new RangeError(`"${name}": expected one of ${expected}, got ${show(value)}`)
}

/** @throws TypeError  if it is no object, of options say */
export function anObject<T extends object>(options: T, expected = 'an object'): T {
  if (typeof options === 'object' && options !== null) return options
  throw new TypeError(`"options": expected ${expected}, got ${show(options)}`)
}

/** @throws TypeError  naming the first option that is left over */
export function noOthers(others: object): void {
  for (const name of Object.keys(others)) throw new TypeError(`"${name}": no such option`)
}

/** What a tensor is checked against. */
interface Shaped {
  readonly shape: readonly number[]
  readonly length: number
}

/**
 * Checks that there is one tensor for each parameter, with as many numbers as its shape has, and that all
 * are arrays or none is.
 *
 * @param other  checks an entry that is no Float32Array
 * @param also  whether the method takes an entry of another kind; it throws if that does not fit
 * @throws TypeError, RangeError  naming the entry
 */
export function checkTensors<S extends Shaped>(
  tensors: readonly Gradient[],
  specs: readonly S[],
  name: string,
  other: (tensor: unknown, length: number, name: string) => void,
  also?: (entry: unknown, spec: S, name: string) => boolean,
): void {
  if (!Array.isArray(tensors)) {
    throw new TypeError(`"${name}": expected an array, got ${show(tensors)}`)
  }
  if (tensors.length !== specs.length) {
    throw new RangeError(`"${name}": expected ${specs.length} entries, got ${tensors.length}`)
  }
  const arrays = also !== undefined || tensors[0] instanceof Float32Array
  for (const [i, spec] of specs.entries()) {
    const { length, shape } = spec
    const tensor: unknown = tensors[i]
    if (also?.(tensor, spec, `${name}[${i}]`)) continue
    if (!(tensor instanceof Float32Array)) {
      other(tensor, length, `${name}[${i}]`)
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
