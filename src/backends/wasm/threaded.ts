// The wasm backend on several threads.
import type { Backend } from '../../backend.ts'
import { Alone } from './executor.ts'
import { backendOf, checked, type WasmOptions } from './index.ts'
import { moduleFor } from './load.ts'
import { sharedModuleFor, Team } from './threads.ts'

const MOST_THREADS = 64

export interface ThreadsOptions extends WasmOptions {
  /**
   * How many work on a phase, the calling one included: 1 … 64. The bits are the same for any number.
   * Those besides it begin with the backend's first session, and end with its last.
   */
  readonly threads: number
}

/**
 * As `wasm` of `lowrank`, on several threads over shared memory: a page must be cross-origin
 * isolated, and its policy must allow workers from `blob:`. With one thread it needs neither.
 *
 * Opening a session raises an UnsupportedError if this host has not what is asked for.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function wasm(options: ThreadsOptions): Backend {
  const { threads, relaxed } = checked(options)
  if (!Number.isInteger(threads) || threads < 1 || threads > MOST_THREADS) {
    throw new RangeError(`"threads": expected 1 … ${MOST_THREADS}, got ${String(threads)}`)
  }
  let team: Team | null = null // while there are sessions
  if (threads === 1) return backendOf(async () => new Alone(await moduleFor(relaxed)))
  return backendOf(async () => {
    const module = await sharedModuleFor(relaxed)
    team ??= new Team(threads, () => {
      team = null
    })
    return team.join(module)
  })
}
