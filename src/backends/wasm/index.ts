// The default backend: WebAssembly with SIMD, on the CPU, wherever JavaScript runs.
import type { Backend, Host, Random } from '../../seam.ts'
import { createHost } from './host.ts'
import { loadModule } from './load.ts'
import { createSession } from './session.ts'

/** The kernels in WebAssembly. Compiled at the first use, shared by all compressors. */
export function wasm(): Backend {
  return {
    name: 'wasm',
    open: async (plan) => createSession(await loadModule(), plan),
  }
}

/** The part that must agree bit for bit between workers: always this one. */
export async function openHost(seed: number, random?: Random): Promise<Host> {
  return createHost(await loadModule(), seed, random)
}
