// The default backend: WebAssembly with SIMD, on the CPU, wherever JavaScript runs.
import type { Backend, Host, Random } from '../../seam.ts'
import { Alone, type Crew } from './crew.ts'
import { createHost } from './host.ts'
import { loadModule, moduleFor } from './load.ts'
import { WasmSession } from './session.ts'
import type { Team } from './threads.ts'

const MOST_THREADS = 64

/** How the kernels run; each worker's own choice. */
export interface WasmOptions {
  /**
   * Relaxed SIMD: multiply-adds that the engine may fuse, where workers need not agree on bits: in
   * their own P and Q, and what these leave in the residual. true: with it, or not at all; false: a
   * worker's frames are the same on every engine. Default: where the engine has it.
   */
  readonly relaxed?: boolean
  /**
   * How many work on a phase, the calling one included: 1 … 64. The bits are the same for any number.
   * Those besides it begin with the backend's first session, and end with its last. More than 1 needs
   * shared memory: a page must be cross-origin isolated. Default 1.
   */
  readonly threads?: number
}

/**
 * The kernels in WebAssembly. Compiled at the first use, shared by all compressors.
 *
 * Opening a session raises an UnsupportedError if this host has not what is asked for.
 *
 * @throws TypeError, RangeError  naming the option at fault
 */
export function wasm({ relaxed, threads = 1 }: WasmOptions = {}): Backend {
  if (relaxed !== undefined && typeof relaxed !== 'boolean') {
    throw new TypeError(`"relaxed": expected true or false, got ${String(relaxed)}`)
  }
  if (!Number.isInteger(threads) || threads < 1 || threads > MOST_THREADS) {
    throw new RangeError(`"threads": expected 1 … ${MOST_THREADS}, got ${String(threads)}`)
  }
  let team: Team | null = null // while there are sessions

  async function gather(): Promise<Crew> {
    if (threads === 1) return new Alone(await moduleFor(relaxed))
    const { sharedModuleFor, Team } = await import('./threads.ts')
    const module = await sharedModuleFor(relaxed)
    const ended = () => {
      team = null
    }
    team ??= new Team(threads, ended)
    return team.join(module)
  }

  return {
    name: 'wasm',
    async open(plan, { resident = false } = {}) {
      const crew = await gather()
      try {
        return new WasmSession(crew, plan, resident)
      } catch (error) {
        crew.leave()
        throw error
      }
    },
  }
}

/** The part that must agree bit for bit between workers: always this one. */
export async function openHost(seed: number, random?: Random): Promise<Host> {
  return createHost(await loadModule(), seed, random)
}
