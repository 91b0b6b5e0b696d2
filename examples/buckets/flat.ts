// PyTorch's batched_powerSGD_hook: a whole bucket as one square matrix.
//
// The parameters of a bucket are laid end to end, filled up with zeros to s × s, s = ⌈√L⌉, and
// compressed as that one matrix: 2·s·rank floats a step, whatever the shapes.
//
// Mind two things. The rows of that matrix are not rows of any layer, so it need not be near low
// rank where each layer is; PyTorch's documentation warns of lower accuracy. And PyTorch saves
// calls for each tensor by it, which this library does not make: a compressor does all its matrices
// in one call.
import type { ParameterSpec } from 'lowrank'

export interface FlatBucket {
  /**
   * The one parameter of its compressor: `createCompressor([bucket.spec], { method: pytorch() })`.
   */
  readonly spec: ParameterSpec
  /** s² */
  readonly length: number
  /**
   * Lays tensors end to end.
   *
   * @param into  s² floats, zeros behind the tensors: for example `compressor.gradients[0]` of a
   *   resident compressor
   * @throws RangeError  if `into` is not s² long, or a tensor does not fit its shape
   */
  pack(tensors: readonly Float32Array[], into: Float32Array): void
  /** Copies the bucket back, over `tensors`. */
  unpack(from: Float32Array, tensors: readonly Float32Array[]): void
}

/** @param shapes  of the bucket's tensors, in the order that all workers share */
export function flatBucket(shapes: readonly (readonly number[])[]): FlatBucket {
  const lengths = shapes.map((shape) => shape.reduce((a, b) => a * b, 1))
  const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0))
  const s = Math.ceil(Math.sqrt(lengths.reduce((a, b) => a + b, 0)))
  const check = (flat: Float32Array, tensors: readonly Float32Array[]) => {
    const got = [flat, ...tensors].map(({ length }) => length)
    const expected = [s * s, ...lengths]
    if (String(got) === String(expected)) return
    throw new RangeError(
      `expected the bucket and its tensors to have ${expected} floats, got ${got}`,
    )
  }
  return {
    spec: { shape: [s, s], compress: true },
    length: s * s,
    pack(tensors, into) {
      check(into, tensors)
      for (const [i, tensor] of tensors.entries()) into.set(tensor, starts[i]!)
    },
    unpack(from, tensors) {
      check(from, tensors)
      for (const [i, tensor] of tensors.entries()) {
        tensor.set(from.subarray(starts[i]!, starts[i]! + lengths[i]!))
      }
    },
  }
}
