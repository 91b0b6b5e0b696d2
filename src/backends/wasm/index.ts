// The default backend: WebAssembly with SIMD, on the CPU, wherever JavaScript runs.
import type { Backend, Host, Random } from '../../backend.ts'
import { flag, knownOptions, wrongType } from '../../validate.ts'
import { type Executor, SingleThread } from './executor.ts'
import { createHost } from './host.ts'
import { loadModule, moduleFor, provideModule } from './load.ts'
import { WasmSession } from './session.ts'

/** Options of the wasm backend. Workers need not agree on them. */
export interface WasmOptions {
  /**
   * Whether to use relaxed SIMD, with multiply-adds that the engine may fuse. Only kernels whose
   * bits workers need not agree on use it: those that compute a worker's own P and Q. true: use it,
   * or raise an UnsupportedError. false: never; a worker's frames then have the same bits on every
   * engine. Default: use it if the engine has it.
   */
  readonly relaxed?: boolean
  /**
   * lowrank/lowrank.wasm, or lowrank/lowrank.relaxed.wasm where the engine has relaxed SIMD, as a
   * `WebAssembly.Module`: for hosts that forbid compiling, such as Cloudflare Workers, where
   * importing that file gives one. All of the package in this process uses it from this call on,
   * whatever the backend. It takes the place of `relaxed`. Default: the package compiles its own.
   */
  readonly module?: object
}

/**
 * The wasm backend, on the calling thread. `wasm` of `lowrank/threads` uses several threads.
 *
 * The module is compiled when the first session is opened, and shared by all sessions. Opening a
 * session raises an UnsupportedError if this host lacks WebAssembly, its SIMD, or the relaxed SIMD
 * asked for, or forbids compiling and was given no `module`.
 *
 * @throws TypeError  naming the option at fault
 */
export function wasm(options: WasmOptions = {}): Backend {
  if (Object.hasOwn(Object(options), 'threads')) {
    throw new TypeError('"threads": no such option of this wasm: that of lowrank/threads has it')
  }
  const relaxed = relaxedIn(knownOptions(options, ['relaxed', 'module']))
  return backendOf(async () => new SingleThread(await moduleFor(relaxed)))
}

/** The option `relaxed`, after providing the `module`. @throws TypeError  naming the option */
export function relaxedIn({ relaxed, module }: WasmOptions): boolean | undefined {
  if (relaxed !== undefined) flag('relaxed', relaxed)
  if (module === undefined) return relaxed
  if (relaxed !== undefined) throw new TypeError('"relaxed": "module" has decided it already')
  provideModule(module)
  return undefined
}

/**
 * @internal
 * @param createExecutor  called once for each session
 */
export function backendOf(createExecutor: () => Promise<Executor>): Backend {
  return {
    name: 'wasm',
    async open(layout, { resident = false } = {}) {
      if (!Array.isArray(layout?.parameters)) {
        throw wrongType('layout', 'what createLayout returns', layout)
      }
      const executor = await createExecutor()
      try {
        return new WasmSession(executor, layout, resident)
      } catch (error) {
        executor.release()
        throw error
      }
    },
  }
}

/**
 * Creates the host of a compressor: what workers must agree on to the bit is always computed in
 * wasm.
 */
export async function openHost(seed: number, random?: Random): Promise<Host> {
  return createHost(await loadModule(), seed, random)
}
