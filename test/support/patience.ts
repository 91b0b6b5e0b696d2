// How long tests may be silent. Limits are for silence, not for whole runs, and grow with the load: a
// machine with six times as many threads to run as cores gives each a sixth of its time.
import { availableParallelism, loadavg } from 'node:os'

/** `ms`, times what the machine is slower than an idle one. */
export function patience(ms: number): number {
  return ms * Math.max(1, loadavg()[0]! / availableParallelism())
}
