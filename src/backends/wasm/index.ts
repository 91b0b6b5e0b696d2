// The default backend: WebAssembly with SIMD, on the CPU, wherever JavaScript runs.
import type { Backend, Host, Random } from '../../seam.ts'
import { Alone } from './crew.ts'
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
 * The kernels in WebAssembly. Compiled at the first use, shared by all compressors.
 *
 * Opening a session raises an UnsupportedError if this host has not what is asked for.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function wasm({ relaxed }: WasmOptions = {}): Backend {
  if (relaxed !== undefined && typeof relaxed !== 'boolean') {
    throw new TypeError(`"relaxed": expected true or false, got ${String(relaxed)}`)
  }
  return {
    name: 'wasm',
    async open(plan, { resident = false } = {}) {
      return new WasmSession(new Alone(await moduleFor(relaxed)), plan, resident)
    },
  }
}

/** The part that must agree bit for bit between workers: always this one. */
export async function openHost(seed: number, random?: Random): Promise<Host> {
  return createHost(await loadModule(), seed, random)
}
