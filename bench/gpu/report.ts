// The report of the benchmarks on a GPU.
import type { Results } from '../results.ts'
import type { Adapter } from './device.ts'

/** The report that `--json` writes. */
export interface GpuReport extends Results {
  readonly adapter: Adapter
  /** the browser, if there was one */
  readonly browser?: string
}
