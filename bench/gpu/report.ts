// What a run of the benchmarks on a GPU yields.
import type { Results } from '../results.ts'
import type { Adapter } from './device.ts'

/** What `--json` writes. */
export interface GpuReport extends Results {
  readonly adapter: Adapter
  /** if it was measured in one */
  readonly browser?: string
}
