// Recordings of PyTorch's hook: they hold flat buckets, which this file cuts into parameters.
import type { Random } from '../../src/index.ts'
import type { Recording } from './recording.ts'

export interface HookConfig {
  readonly state: {
    readonly matrix_approximation_rank: number
    readonly start_powerSGD_iter: number
    readonly min_compression_rate: number
    readonly use_error_feedback: boolean
    readonly warm_start: boolean
    readonly orthogonalization_epsilon: number
  }
  readonly workers: number
  readonly steps: number
  readonly shapes: readonly (readonly number[])[]
  /** of each step: which parameters are in which bucket, one after another */
  readonly buckets: readonly (readonly {
    readonly bucket: number
    readonly params: readonly number[]
    readonly compressed: readonly number[]
  }[])[]
  /** floats of all compressed steps */
  readonly compression_stats: { readonly before: number; readonly after: number }
  readonly float64_replay: {
    /** how many steps do not hang on rounding noise, by parameter */
    readonly comparable_steps: readonly number[]
    readonly comparable_factor_steps: readonly number[]
  }
}

export type HookCase = Recording<HookConfig>

/** Cuts a step's buckets into one array per parameter. @param what  'output', 'worker0/input', … */
export function parametersOf({ config, get }: HookCase, t: number, what: string): Float32Array[] {
  const found: Float32Array[] = []
  for (const { bucket, params } of config.buckets[t]!) {
    const flat = get(`step${t}/${what}/${bucket}`)
    let at = 0
    for (const i of params) {
      const length = config.shapes[i]!.reduce((a, b) => a * b, 1)
      found[i] = flat.slice(at, at + length)
      at += length
    }
  }
  return found
}

/**
 * Draws the recorded first queries, without warm start in any step; for a replaced column, the unit
 * vector that LAPACK puts there.
 *
 * @param name  gives the name of a parameter's query
 */
export function drawn(file: HookCase, name: (parameter: number) => string): Random {
  const { steps, state } = file.config
  return (use, parameter, column, step, length) => {
    const unit = Float32Array.from({ length }, (_, j) => (j === column ? 1 : 0))
    // The last step also draws the query of a step that is not recorded.
    if (use !== 0 || step === steps) return unit
    const from = Math.max(step, state.start_powerSGD_iter)
    return file
      .factor(`step${from}/q_start/${name(parameter)}`)
      .slice(column * length)
      .slice(0, length)
  }
}
