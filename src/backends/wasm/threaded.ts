// The wasm backend on several threads.
import type { Backend } from '../../backend.ts'
import { SingleThread } from './executor.ts'
import { backendOf, checkedOptions, type WasmOptions } from './index.ts'
import { moduleFor } from './load.ts'
import { sharedModuleFor, ThreadPool } from './threads.ts'

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
export function threadedWasm(options: ThreadsOptions): Backend {
  const { threads, relaxed } = checkedOptions(options)
  if (!Number.isInteger(threads) || threads < 1 || threads > MOST_THREADS) {
    throw new RangeError(`"threads": expected 1 … ${MOST_THREADS}, got ${String(threads)}`)
  }
  let pool: ThreadPool | null = null // while there are sessions
  if (threads === 1) return backendOf(async () => new SingleThread(await moduleFor(relaxed)))
  return backendOf(async () => {
    const module = await sharedModuleFor(relaxed)
    pool ??= new ThreadPool(threads, () => {
      pool = null
    })
    return pool.addSession(module)
  })
}
