// The default backend: WebAssembly with SIMD, on the CPU, wherever JavaScript runs.
import type { Backend, Host, Random } from '../../backend.ts'
import { type Executor, SingleThread } from './executor.ts'
import { createHost } from './host.ts'
import { loadModule, moduleFor } from './load.ts'
import { WasmSession } from './session.ts'

/** How the kernels run; each worker's own choice. */
export interface WasmOptions {
  /**
   * Relaxed SIMD: multiply-adds that the engine may fuse, where workers need not agree on bits: in
   * their own P and Q, and what these leave in the residual. true: with it, or not at all; false: a
   * worker's frames are the same on every engine. Default: where the engine has it.
   */
  readonly relaxed?: boolean
}

/**
 * The kernels in WebAssembly, on the calling thread; for several there is `wasm` of
 * `lowrank/threads`. Compiled at the first use, shared by all compressors.
 *
 * Opening a session raises an UnsupportedError if this host has not what is asked for.
 *
 * @throws TypeError  naming the option at fault
 */
export function wasm(options: WasmOptions = {}): Backend {
  if ('threads' in options) {
    throw new TypeError('"threads": an option of the wasm that lowrank/threads exports')
  }
  const { relaxed } = checkedOptions(options)
  return backendOf(async () => new SingleThread(await moduleFor(relaxed)))
}

/** The options as they are. @throws TypeError  if `relaxed` is neither true nor false nor absent */
export function checkedOptions<T extends WasmOptions>(options: T): T {
  const { relaxed } = options
  if (relaxed !== undefined && typeof relaxed !== 'boolean') {
    throw new TypeError(`"relaxed": expected true or false, got ${String(relaxed)}`)
  }
  return options
}

/**
 * @internal
 * @param gather  those who run the phases of one session
 */
export function backendOf(gather: () => Promise<Executor>): Backend {
  return {
    name: 'wasm',
    async open(layout, { resident = false } = {}) {
      const executor = await gather()
      try {
        return new WasmSession(executor, layout, resident)
      } catch (error) {
        executor.release()
        throw error
      }
    },
  }
}

/** The part that must agree bit for bit between workers: always this one. */
export async function openHost(seed: number, random?: Random): Promise<Host> {
  return createHost(await loadModule(), seed, random)
}
