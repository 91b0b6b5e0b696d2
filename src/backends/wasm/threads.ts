// A pool of threads over shared memory. The calling thread takes part. Each thread takes the next
// unit as soon as it is free, so a thread that is late, or busy with messages, costs only time. The
// results do not depend on which thread runs a unit.
import type { MaybePromise } from '../../backend.ts'
import { UnsupportedError } from '../../errors.ts'
import {
  type Executor,
  type ExecutorHooks,
  type PhaseKernel,
  SingleThread,
  type Unit,
  type Work,
} from './executor.ts'
import { compileModule, type KernelExports, loadBinaries, loadModule, moduleFor } from './load.ts'
import { shareable } from './shareable.ts'
import {
  CONTROL_BYTES,
  FAILED,
  type Message,
  MOST_OPERANDS,
  MOST_UNITS,
  PHASES,
  SOURCE,
  UNIT_WORDS,
  WORD,
} from './thread-protocol.ts'
import { startThread, type Thread } from './worker.ts'

/**
 * A phase of fewer floats runs on the calling thread: it ends before another thread has woken up.
 */
const LEAST_FLOATS = 100_000

/** of a WebAssembly memory: 4 GiB */
const MOST_PAGES = 1 << 16

/** How often a word is read before the thread sleeps on it, if it may. */
const SPINS = 2000

/** modules for shared memory, by the module for ordinary memory */
const shared = new Map<WebAssembly.Module, Promise<WebAssembly.Module>>()

/** Like `moduleFor`; the module takes shared memory. */
export async function sharedModuleFor(relaxed: boolean | undefined): Promise<WebAssembly.Module> {
  const module = await moduleFor(relaxed)
  const bytes = await loadBinaries()
  const plain = module === (await loadModule())
  const made = shared.get(module) ?? compileModule(shareable(plain ? bytes.plain : bytes.relaxed))
  shared.set(module, made)
  return made
}

/** The threads of one backend, from its first session to its last. */
export class ThreadPool {
  /** the number of threads, the calling one included */
  readonly threads: number
  /** the control words (thread-protocol.ts) */
  readonly words: Int32Array
  readonly operands: Float64Array
  readonly #control: SharedArrayBuffer
  readonly #others: Thread[] = []
  readonly #ended: () => void
  /** sessions that begin: the threads that have not answered yet, and the promise's callbacks */
  readonly #pending = new Map<
    unknown,
    { left: number; done(): void; onError(error: Error): void }
  >()
  #failure: Error | null = null
  readonly #sessions = new Set<number>()
  #last = 0
  /** true: the threads have the control words */
  #posted = false

  /**
   * @param ended  called when the last session has ended. The pool must not be used afterwards.
   * @throws UnsupportedError  if threads cannot be started here
   */
  constructor(threads: number, ended: () => void) {
    const { crossOriginIsolated } = globalThis as { crossOriginIsolated?: boolean }
    if (typeof SharedArrayBuffer === 'undefined' || crossOriginIsolated === false) {
      throw new UnsupportedError(
        '"threads": memory is not shared here: serve the page with the headers ' +
          '"Cross-Origin-Opener-Policy: same-origin", "Cross-Origin-Embedder-Policy: require-corp"',
      )
    }
    this.#control = new SharedArrayBuffer(CONTROL_BYTES)
    this.threads = threads
    this.words = new Int32Array(this.#control)
    this.operands = new Float64Array(this.#control, 4 * WORD.operands, MOST_OPERANDS)
    this.#ended = ended
    const onMessage = (session: unknown) => this.#onMessage(session)
    const onError = (reason: string) => this.#onError(reason)
    try {
      while (this.#others.length < threads - 1) {
        this.#others.push(startThread(SOURCE, onMessage, onError))
      }
    } catch (error) {
      this.#end()
      throw error
    }
  }

  /**
   * Begins a session: creates its memory, and an instance of the module in each thread.
   *
   * @param compiling  a module for shared memory (shareable.ts)
   * @throws UnsupportedError  if a thread cannot be started
   */
  async addSession(compiling: MaybePromise<WebAssembly.Module>): Promise<Executor> {
    const session = ++this.#last
    this.#sessions.add(session)
    try {
      const module = await compiling
      const memory = sharedMemory()
      const first = this.#posted ? {} : { controlWords: this.#control }
      this.#posted = true
      await new Promise<void>((done, onError) => {
        if (this.#failure) throw this.#failure
        this.#pending.set(session, { left: this.#others.length, done, onError })
        for (const other of this.#others) other.keepAlive(true)
        this.#post({ session, module, memory, ...first })
      })
      return new PooledExecutor(this, session, new SingleThread(module, memory))
    } catch (error) {
      this.removeSession(session)
      throw error
    }
  }

  /** Ends a session; with the last one, also the threads. */
  removeSession(session: number): void {
    if (!this.#sessions.delete(session)) return
    this.#pending.delete(session)
    if (this.#sessions.size > 0) this.#post({ session })
    else {
      this.#end()
      this.#ended()
    }
  }

  #end(): void {
    for (const other of this.#others) other.end()
  }

  /** Posts a message to all threads, and wakes those that sleep, so that they read it. */
  #post(message: Message): void {
    for (const other of this.#others) other.post(message)
    Atomics.add(this.words, WORD.posted, 1)
    Atomics.add(this.words, WORD.turn, 2)
    Atomics.notify(this.words, WORD.turn)
  }

  #onMessage(session: unknown): void {
    const pending = this.#pending.get(session)
    if (!pending || --pending.left > 0) return
    this.#pending.delete(session)
    this.#releaseIfIdle()
    pending.done()
  }

  #onError(reason: string): void {
    this.#failure = new UnsupportedError(`"threads": a worker could not be started: ${reason}`)
    for (const { onError } of this.#pending.values()) onError(this.#failure)
    this.#pending.clear()
    this.#releaseIfIdle()
  }

  /** Unless a session is about to begin, lets the process end while the threads sleep. */
  #releaseIfIdle(): void {
    if (this.#pending.size === 0) for (const other of this.#others) other.keepAlive(false)
  }
}

/**
 * A shared memory that may grow as far as this host allows: some refuse 4 GiB at once.
 *
 * @throws UnsupportedError  if it allows none
 */
function sharedMemory(): WebAssembly.Memory {
  for (let maximum = MOST_PAGES; ; maximum /= 2) {
    try {
      return new WebAssembly.Memory({ initial: 1, maximum, shared: true })
    } catch (cause) {
      if (maximum > 1) continue
      throw new UnsupportedError(`"threads": no shared memory to be had here: ${cause}`, { cause })
    }
  }
}

/** Runs one session's phases on the threads of a pool. */
class PooledExecutor implements Executor {
  readonly memory: WebAssembly.Memory
  readonly kernels: KernelExports
  readonly singleThread: SingleThread
  readonly tiles: number
  readonly threads: number
  readonly #pool: ThreadPool
  readonly #session: number
  readonly #words: Int32Array
  readonly #maySleep: boolean

  constructor(pool: ThreadPool, session: number, singleThread: SingleThread) {
    this.memory = singleThread.memory
    this.kernels = singleThread.kernels
    this.tiles = 2 * pool.threads + 1
    this.threads = pool.threads
    this.#pool = pool
    this.#session = session
    this.singleThread = singleThread
    this.#words = pool.words
    this.#maySleep = maySleep(pool.words)
  }

  release(): void {
    this.#pool.removeSession(this.#session)
  }

  run(
    kernel: PhaseKernel,
    before: readonly number[],
    after: readonly number[],
    work: Work,
    hooks: ExecutorHooks = {},
  ): number[] {
    if (work.floats < LEAST_FLOATS) return this.singleThread.run(kernel, before, after, work, hooks)
    const words = this.#words
    words[WORD.session] = this.#session
    words[WORD.kernel] = PHASES.indexOf(kernel)
    words[WORD.before] = before.length
    words[WORD.after] = after.length
    this.#pool.operands.set([...before, ...after])
    const call = this.kernels[kernel] as (...operands: number[]) => number | undefined
    const run = ({ table, blocks }: Unit) => call(...before, table, blocks, ...after) ?? 0
    const results: number[] = []
    let { meanwhile } = hooks
    for (let at = 0; at < work.units.length; at += MOST_UNITS) {
      const units = work.units.slice(at, at + MOST_UNITS)
      const { fill, empty } = hooks
      const here: ExecutorHooks = {
        ...(fill && { fill: (i) => fill(at + i) }),
        ...(empty && { empty: (i, result) => empty(at + i, result) }),
        ...(meanwhile && { meanwhile }),
      }
      results.push(...this.#runUnits(units, run, here))
      meanwhile = undefined
    }
    return results
  }

  /**
   * Runs at most MOST_UNITS units, on all threads.
   *
   * @param hooks  with `fill` or `empty`, a unit waits until its tile is free, and filled
   * @returns for each unit, the kernel's result, or 0
   */
  #runUnits(units: readonly Unit[], run: (unit: Unit) => number, hooks: ExecutorHooks): number[] {
    const words = this.#words
    const feeding = hooks.fill !== undefined || hooks.empty !== undefined
    for (const [i, { table, blocks }] of units.entries()) {
      words.set([table, blocks, 0], WORD.table + UNIT_WORDS * i)
    }
    words[WORD.units] = units.length
    words[WORD.next] = 0
    words[WORD.ready] = feeding ? 0 : units.length
    Atomics.add(words, WORD.turn, 1)
    Atomics.notify(words, WORD.turn)
    const runAt = (i: number) => Atomics.store(words, stateOf(i), 1 + run(units[i]!))
    try {
      hooks.meanwhile?.()
      if (feeding) this.#feed(units.length, runAt, hooks)
      while (this.#take(units.length, runAt));
    } catch (error) {
      // Other threads may wait for tiles that will not be filled.
      Atomics.store(words, WORD.next, units.length)
      Atomics.store(words, WORD.ready, FAILED)
      Atomics.notify(words, WORD.ready)
      throw error
    } finally {
      Atomics.add(words, WORD.turn, 1)
      for (let busy = 1; busy > 0; busy = this.#await(WORD.busy, busy));
    }
    const results = units.map((_, i) => {
      const state = words[stateOf(i)]!
      if (state === FAILED) throw new Error('a kernel has failed on another thread')
      return state - 1
    })
    const from = Math.max(0, units.length - this.tiles) // `#feed` has emptied those before
    for (let i = from; i < units.length; i++) hooks.empty?.(i, results[i]!)
    return results
  }

  /**
   * Empties and fills one tile after another, each as soon as its last unit has run. Runs units in
   * between.
   */
  #feed(count: number, runAt: (i: number) => void, { fill, empty }: ExecutorHooks): void {
    for (let i = 0; i < count; ) {
      const last = i - this.tiles
      const state = last < 0 ? 1 : Atomics.load(this.#words, stateOf(last))
      if (state !== 0) {
        if (last >= 0) empty?.(last, state - 1)
        fill?.(i)
        i++
        Atomics.store(this.#words, WORD.ready, i)
        Atomics.notify(this.#words, WORD.ready)
      } else if (!this.#take(i, runAt)) this.#await(stateOf(last), 0)
    }
  }

  /**
   * Runs the next unit, unless its number is `end` or more or another thread takes it first.
   *
   * @returns false if there was no such unit
   */
  #take(end: number, runAt: (i: number) => void): boolean {
    const i = Atomics.load(this.#words, WORD.next)
    if (i >= end) return false
    if (Atomics.compareExchange(this.#words, WORD.next, i, i + 1) === i) runAt(i)
    return true
  }

  /**
   * Waits until a word differs from `value`. Where the thread may not sleep, waits only for a
   * while.
   *
   * @returns the word
   */
  #await(word: number, value: number): number {
    for (let spin = 0; spin < SPINS; spin++) {
      const now = Atomics.load(this.#words, word)
      if (now !== value) return now
    }
    if (this.#maySleep) Atomics.wait(this.#words, word, value)
    return Atomics.load(this.#words, word)
  }
}

/** Index of a unit's state in the words. */
function stateOf(unit: number): number {
  return WORD.table + UNIT_WORDS * unit + 2
}

/**
 * Whether this thread may sleep in Atomics.wait. A web page's main thread may not: it reads the
 * word again and again, for no longer than a unit takes.
 */
function maySleep(words: Int32Array): boolean {
  try {
    Atomics.wait(words, WORD.units, -1, 0) // no phase has −1 units: it returns at once
    return true
  } catch (error) {
    if (error instanceof TypeError) return false
    throw error
  }
}
