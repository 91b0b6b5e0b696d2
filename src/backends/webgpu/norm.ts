// The norms of M's parameters, by shaders/norm.wgsl.
import type { CopyJob } from './copy-out.ts'
import { USAGE } from './gpu.ts'
import type { Memory } from './memory.ts'
import { type Recorder, uniformAt } from './recorder.ts'
import { NORM_FOURS, NORM_RANGE } from './structs.ts'

/**
 * Σ x² of each parameter.
 *
 * @param copyOut  copies after all that has been recorded
 */
export async function squaredNorms(
  recorder: Recorder,
  memory: Memory,
  copyOut: (jobs: readonly CopyJob[]) => Promise<void>,
): Promise<Float64Array> {
  const { gpu } = recorder
  const pipeline = await gpu.pipeline('norm')
  const { segments, arena, layout } = memory
  const squares = new Float64Array(layout.parameters.length)
  let groups = 0
  const ranges = arena.matrices.flatMap(({ parameter: { index }, stride, pieces }) =>
    pieces.map(({ segment, at, rows }) => {
      const count = (rows * stride) / 4
      const to = groups
      groups += Math.ceil(count / NORM_FOURS)
      return { index, segment, first: at / 4, count, to, end: groups }
    }),
  )
  const use = (values: Float32Array) => {
    const words = new Uint32Array(values.buffer, values.byteOffset, values.length)
    for (const { index, to, end } of ranges) {
      squares[index]! += combine(words.subarray(2 * to, 2 * end))
    }
  }
  const buffer = recorder.checked(() => {
    const uniforms = recorder.uniforms(NORM_RANGE, ranges)
    const sums = recorder.transient('norms', 8 * groups, USAGE.STORAGE | USAGE.COPY_SRC)
    for (const [i, { segment, to, end }] of ranges.entries()) {
      const m = { buffer: segments[segment]! }
      const group = gpu.bind('norm', [uniformAt(uniforms, i), m, { buffer: sums }])
      recorder.dispatch('norm', pipeline, group, end - to)
    }
    return sums
  })
  await copyOut([{ buffer, at: 0, floats: 2 * groups, use }])
  return squares
}

/**
 * Σ x² from the sums that norm.wgsl has written. Each workgroup writes the float32 bits of its sum of
 * squares, which it has scaled, and the biased exponent e of its largest number: the scale was 2^(128 − e).
 *
 * In float64 no square of a float32 overflows. The result for n workgroups errs by γ₁₄ + (n − 1)·2⁻⁵³
 * at most, relative to itself (γₖ = k·u ÷ (1 − k·u), u = 2⁻²⁴: 8.4e-7). A GPU may take subnormal
 * numbers for 0: then their squares are missing, each below 2⁻²⁵².
 *
 * @param sums  two words a workgroup
 */
export function combine(sums: Uint32Array): number {
  const floats = new Float32Array(sums.buffer, sums.byteOffset, sums.length)
  let total = 0
  for (let i = 0; i < sums.length; i += 2) total += floats[i]! * 4 ** (sums[i + 1]! - 128)
  return total
}
