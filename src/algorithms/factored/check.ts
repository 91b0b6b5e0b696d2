// The check of factored entries of `compress(gradients)`: see `Method.accepts`.

import type { Factored } from '../../backend.ts'
import type { Spec } from '../../options.ts'
import { isFloats, wrongType } from '../../validate.ts'

/**
 * Checks one entry of `gradients`.
 *
 * @param spec  the parameter: its activations are N × cols, its deltas N × rows, both by row
 * @param name  of the entry, for errors
 * @returns false if the entry is not factored
 * @throws TypeError, RangeError  naming the part that does not fit
 */
export function acceptsFactored(entry: unknown, { rows, cols }: Spec, name: string): boolean {
  if (!isFactored(entry)) return false
  const samplesOf = (part: keyof Factored, width: number) => {
    const values: unknown = entry[part]
    if (!isFloats(values)) throw wrongType(`${name}.${part}`, 'a Float32Array', values)
    if (values.length > 0 && values.length % width === 0) return values.length / width
    throw new RangeError(
      `"${name}.${part}": expected N × ${width} floats, N ≥ 1, for a matrix of ${rows} × ${cols}, ` +
        `got ${values.length}`,
    )
  }
  const [a, d] = [samplesOf('activations', cols), samplesOf('deltas', rows)]
  if (a === d) return true
  throw new RangeError(`"${name}.deltas": expected ${a} samples, as in activations, got ${d}`)
}

function isFactored(entry: unknown): entry is Factored {
  return typeof entry === 'object' && entry !== null && 'activations' in entry
}
