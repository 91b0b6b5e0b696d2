// Who runs the phases of one session: the calling thread singleThread, or with others (threads.ts).
import { instantiate, type KernelExports } from './load.ts'

/** The kernels that walk a table of blocks. */
export type PhaseKernel =
  | 'accumulateProject'
  | 'project'
  | 'backproject'
  | 'reconstruct'
  | 'residual'
  | 'settle'

/** Neighbouring blocks of a table, for one call of a kernel. Units of a table may run in any order. */
export interface Unit {
  /** address of the first block */
  readonly table: number
  readonly blocks: number
}

/** Units, and how much work they are. */
export interface Work {
  readonly units: readonly Unit[]
  readonly floats: number
}

/** What only the calling thread can do: it singleThread sees the caller's arrays. */
export interface ExecutorHooks {
  /** before a unit runs: fills its tile */
  fill?(unit: number): void
  /** while the others take units */
  meanwhile?(): void
}

export interface Executor {
  /** of the calling thread */
  readonly kernels: KernelExports
  readonly memory: WebAssembly.Memory
  /** how many run units at the same time */
  readonly threads: number
  /** the calling thread's part of it */
  readonly singleThread: SingleThread
  /** how many tiles there must be; unit u has tile u mod this */
  readonly tiles: number
  /**
   * Runs a phase: one kernel on all units, also where a block of one is refused.
   *
   * @param before  operands before the table of blocks
   * @param after  operands after the count of blocks
   * @returns of each unit, how many blocks were done before one was refused
   */
  run(
    kernel: PhaseKernel,
    before: readonly number[],
    after: readonly number[],
    work: Work,
    own?: ExecutorHooks,
  ): number[]
  /** Nothing is run any more. */
  release(): void
}

/** What it can do besides if it runs all units itself. */
export interface SingleThreadHooks extends ExecutorHooks {
  /** after a unit has run: empties its tile */
  empty?(unit: number): void
}

/** The calling thread, with a memory of its own. */
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
    own: SingleThreadHooks = {},
  ): number[] {
    own.meanwhile?.()
    const call = this.kernels[kernel] as (...operands: number[]) => number | undefined
    return work.units.map(({ table, blocks }, i) => {
      own.fill?.(i)
      const done = call(...before, table, blocks, ...after) ?? blocks
      own.empty?.(i)
      return done
    })
  }

  release(): void {
    // The memory goes with the session; nothing outside it holds a view.
  }
}
