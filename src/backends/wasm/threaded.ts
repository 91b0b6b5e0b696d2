// The wasm backend on several threads.
import type { Backend } from '../../backend.ts'
import { integer, knownOptions } from '../../validate.ts'
import { SingleThread } from './executor.ts'
import { backendOf, relaxedIn, type WasmOptions } from './index.ts'
import { moduleFor } from './load.ts'
import { sharedModuleFor, ThreadPool } from './threads.ts'

const MOST_THREADS = 64

/** Options of the wasm backend of lowrank/threads. */
export interface ThreadsOptions extends WasmOptions {
  /**
   * The number of threads that compute, the calling one included: 1 … 64. The results have the same
   * bits for any number. The other threads start with the backend's first session and end with its
   * last.
   */
  readonly threads: number
}

/**
 * The wasm backend on several threads over shared memory; otherwise like `wasm` of `lowrank`. A web
 * page must be cross-origin isolated, and its content security policy must allow workers from
 * `blob:`. With one thread it needs neither.
 *
 * Opening a session raises an UnsupportedError if this host lacks threads, shared memory,
 * WebAssembly, its SIMD, or the relaxed SIMD asked for.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function threadedWasm(options: ThreadsOptions): Backend {
  const { threads } = knownOptions(options, ['threads', 'relaxed', 'module'])
  integer('threads', threads, 1, MOST_THREADS)
  const relaxed = relaxedIn(options)
  let pool: ThreadPool | null = null // null: no session is open
  if (threads === 1) return backendOf(async () => new SingleThread(await moduleFor(relaxed)))
  return backendOf(async () => {
    pool ??= new ThreadPool(threads, () => {
      pool = null
    })
    return pool.addSession(sharedModuleFor(relaxed))
  })
}
