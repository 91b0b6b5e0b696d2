// Executors run the phases of one session: on the calling thread alone (here), or on several
// threads (threads.ts).
import { instantiate, type KernelExports } from './load.ts'

/** The kernels that walk a table of blocks. */
export type PhaseKernel =
  | 'accumulateProject'
  | 'project'
  | 'backproject'
  | 'reconstruct'
  | 'residual'
  | 'settle'

/**
 * Consecutive blocks of a table, for one call of a kernel. The units of a phase may run in any
 * order.
 */
export interface Unit {
  /** address of the first block */
  readonly table: number
  readonly blocks: number
}

/** The units of a phase. */
export interface Work {
  readonly units: readonly Unit[]
  /** floats of M in all units: too few are not worth several threads */
  readonly floats: number
}

/** Work for the calling thread, the only one that sees the caller's arrays. */
export interface ExecutorHooks {
  /** Fills a unit's tile. Called for each unit before it runs. */
  fill?(unit: number): void
  /**
   * Copies a unit's tile out. Called for each unit after it has run, with the kernel's result. With
   * this hook or `fill`, no two units with the same tile run at once.
   */
  empty?(unit: number, result: number): void
  /** Called once, while the other threads run units. */
  meanwhile?(): void
}

/** Runs the phases of one session, in one memory. */
export interface Executor {
  /** the calling thread's instance */
  readonly kernels: KernelExports
  readonly memory: WebAssembly.Memory
  /** the number of threads that run units, the calling one included */
  readonly threads: number
  /** an executor for the calling thread alone, in the same memory */
  readonly singleThread: SingleThread
  /** the number of tiles that the session must provide; unit u uses tile u mod `tiles` */
  readonly tiles: number
  /**
   * Runs a phase: one kernel on all units, whatever its results.
   *
   * @param before  operands before the table of blocks
   * @param after  operands after the count of blocks
   * @returns for each unit, the kernel's result, or 0
   */
  run(
    kernel: PhaseKernel,
    before: readonly number[],
    after: readonly number[],
    work: Work,
    hooks?: ExecutorHooks,
  ): number[]
  /** Releases the threads. No phase may run afterwards. */
  release(): void
}

/** Runs all units on the calling thread, in order. */
export class SingleThread implements Executor {
  readonly memory: WebAssembly.Memory
  readonly kernels: KernelExports
  readonly singleThread: SingleThread = this
  readonly threads = 1
  readonly tiles = 1

  constructor(module: WebAssembly.Module, memory = new WebAssembly.Memory({ initial: 1 })) {
    this.memory = memory
    this.kernels = instantiate(module, memory)
  }

  run(
    kernel: PhaseKernel,
    before: readonly number[],
    after: readonly number[],
    work: Work,
    hooks: ExecutorHooks = {},
  ): number[] {
    hooks.meanwhile?.()
    const call = this.kernels[kernel] as (...operands: number[]) => number | undefined
    return work.units.map(({ table, blocks }, i) => {
      hooks.fill?.(i)
      const result = call(...before, table, blocks, ...after) ?? 0
      hooks.empty?.(i, result)
      return result
    })
  }

  release(): void {
    // The memory goes with the session; nothing outside it holds a view.
  }
}
