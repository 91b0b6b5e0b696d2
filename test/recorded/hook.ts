// Recordings of PyTorch's hook: flat buckets of parameters, cut up and put together.
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

/** One array per parameter of what the buckets of a step hold: 'output', 'worker0/input', … */
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
 * The recorded first queries, whatever step they are drawn for without warm start; for a column that is
 * replaced the unit vector that LAPACK puts there.
 *
 * @param name  of the query of a parameter in a step
 */
export function drawn(file: HookCase, name: (parameter: number) => string): Random {
  const { steps, state } = file.config
  return (use, parameter, column, step, length) => {
    const unit = Float32Array.from({ length }, (_, j) => (j === column ? 1 : 0))
    // After the last step, the next one's query is drawn as well.
    if (use !== 0 || step === steps) return unit
    const from = Math.max(step, state.start_powerSGD_iter)
    return file
      .factor(`step${from}/q_start/${name(parameter)}`)
      .slice(column * length)
      .slice(0, length)
  }
}
