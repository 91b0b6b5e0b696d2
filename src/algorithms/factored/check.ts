// Whether entries of `compress(gradients)` are factored, as `Method.takes` has it.

import type { Factored } from '../../backend.ts'
import type { Spec } from '../../options.ts'
import { show } from '../../validate.ts'

/**
 * @returns false if it is not meant to be
 * @throws TypeError, RangeError  if it does not fit
 */
export function acceptsFactored(entry: unknown, { rows, cols }: Spec, name: string): boolean {
  if (!isFactored(entry)) return false
  const samples = (part: keyof Factored, width: number) => {
    const values: unknown = entry[part]
    if (!(values instanceof Float32Array)) {
      throw new TypeError(`"${name}.${part}": expected a Float32Array, got ${show(values)}`)
    }
    if (values.length > 0 && values.length % width === 0) return values.length / width
    throw new RangeError(
      `"${name}.${part}": expected N × ${width} floats, N ≥ 1, for a matrix of ${rows} × ${cols}, ` +
        `got ${values.length}`,
    )
  }
  const [a, d] = [samples('activations', cols), samples('deltas', rows)]
  if (a === d) return true
  throw new RangeError(`"${name}.deltas": expected ${a} samples, as in activations, got ${d}`)
}

function isFactored(entry: unknown): entry is Factored {
  return typeof entry === 'object' && entry !== null && 'activations' in entry
}
