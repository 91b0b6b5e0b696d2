// Several threads over shared memory. The calling thread takes part, and needs nobody: units are taken
// by whoever is free, so a thread that is late, or busy with its messages, costs only time. Which
// thread runs a unit changes no bit.
import { UnsupportedError } from '../../errors.ts'
import {
  type Executor,
  type ExecutorHooks,
  type PhaseKernel,
  SingleThread,
  type Unit,
  type Work,
} from './executor.ts'
import { type KernelExports, loadBinaries, loadModule, moduleFor } from './load.ts'
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

/** A phase of fewer floats is over before another thread has woken up. */
const LEAST_FLOATS = 100_000

/** So often a word is looked at before the thread sleeps on it, where it may. */
const SPINS = 2000

const shared = new Map<WebAssembly.Module, Promise<WebAssembly.Module>>()

/** `moduleFor`, over shared memory. */
export async function sharedModuleFor(relaxed: boolean | undefined): Promise<WebAssembly.Module> {
  const module = await moduleFor(relaxed)
  const bytes = await loadBinaries()
  const plain = module === (await loadModule())
  const made =
    shared.get(module) ?? WebAssembly.compile(shareable(plain ? bytes.plain : bytes.relaxed))
  shared.set(module, made)
  return made
}

/** The threads of one backend, from its first session to its last. */
export class ThreadPool {
  /** the calling one among them */
  readonly threads: number
  readonly words: Int32Array
  readonly operands: Float64Array
  readonly #control: SharedArrayBuffer
  readonly #others: Thread[] = []
  readonly #ended: () => void
  /** whoever waits for all to have read a message, by session */
  readonly #waiting = new Map<unknown, { left: number; done(): void; onError(error: Error): void }>()
  #failure: Error | null = null
  readonly #sessions = new Set<number>()
  #last = 0

  /**
   * @param ended  is called when the last session has left: a pool is not used again
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
    const failed = (reason: string) => this.#onError(reason)
    try {
      while (this.#others.length < threads - 1) {
        this.#others.push(startThread(SOURCE, onMessage, failed))
      }
    } catch (error) {
      this.#end()
      throw error
    }
  }

  /**
   * A session's memory, with an instance in each thread.
   *
   * @param module  for shared memory: see shareable.ts
   * @throws UnsupportedError  if a thread cannot be started
   */
  async addSession(module: WebAssembly.Module): Promise<Executor> {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 << 16, shared: true })
    const session = ++this.#last
    const control = session === 1 ? { control: this.#control } : {}
    this.#sessions.add(session)
    try {
      await new Promise<void>((done, failed) => {
        if (this.#failure) throw this.#failure
        this.#waiting.set(session, { left: this.#others.length, done, failed })
        for (const other of this.#others) other.keepAlive(true)
        this.#post({ session, module, memory, ...control })
      })
    } catch (error) {
      this.removeSession(session)
      throw error
    }
    return new PooledExecutor(this, session, new SingleThread(module, memory))
  }

  removeSession(session: number): void {
    if (!this.#sessions.delete(session)) return
    this.#waiting.delete(session)
    if (this.#sessions.size > 0) this.#post({ session })
    else {
      this.#end()
      this.#ended()
    }
  }

  #end(): void {
    for (const other of this.#others) other.end()
  }

  /** To all; who sleeps is woken, to read it. */
  #post(message: Message): void {
    for (const other of this.#others) other.post(message)
    Atomics.add(this.words, WORD.posted, 1)
    Atomics.add(this.words, WORD.turn, 2)
    Atomics.notify(this.words, WORD.turn)
  }

  #onMessage(session: unknown): void {
    const waiting = this.#waiting.get(session)
    if (!waiting || --waiting.left > 0) return
    this.#waiting.delete(session)
    this.#rest()
    waiting.done()
  }

  #onError(reason: string): void {
    this.#failure = new UnsupportedError(`"threads": a worker could not be started: ${reason}`)
    for (const { failed } of this.#waiting.values()) onError(this.#failure)
    this.#waiting.clear()
    this.#rest()
  }

  /** With nobody waiting, sleeping threads do not keep the process from ending. */
  #rest(): void {
    if (this.#waiting.size === 0) for (const other of this.#others) other.keepAlive(false)
  }
}

/** One session's part in a pool. */
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
    own: ExecutorHooks = {},
  ): number[] {
    if (work.floats < LEAST_FLOATS) return this.singleThread.run(kernel, before, after, work, own)
    const words = this.#words
    words[WORD.session] = this.#session
    words[WORD.kernel] = PHASES.indexOf(kernel)
    words[WORD.before] = before.length
    words[WORD.after] = after.length
    this.#pool.operands.set([...before, ...after])
    const call = this.kernels[kernel] as (...operands: number[]) => number | undefined
    const run = ({ table, blocks }: Unit) => call(...before, table, blocks, ...after) ?? blocks
    const done: number[] = []
    let { meanwhile } = own
    for (let at = 0; at < work.units.length; at += MOST_UNITS) {
      const units = work.units.slice(at, at + MOST_UNITS)
      const fill = own.fill && ((i: number) => own.fill!(at + i))
      done.push(...this.#together(units, run, fill, meanwhile))
      meanwhile = undefined
    }
    return done
  }

  /** Runs so many units as there is room for in the words. */
  #together(
    units: readonly Unit[],
    run: (unit: Unit) => number,
    fill?: (i: number) => void,
    meanwhile?: () => void,
  ): number[] {
    const words = this.#words
    for (const [i, { table, blocks }] of units.entries()) {
      words.set([table, blocks, 0], WORD.table + UNIT_WORDS * i)
    }
    words[WORD.units] = units.length
    words[WORD.next] = 0
    words[WORD.ready] = fill ? 0 : units.length
    Atomics.add(words, WORD.turn, 1)
    Atomics.notify(words, WORD.turn)
    const runAt = (i: number) => Atomics.store(words, stateOf(i), 1 + run(units[i]!))
    try {
      meanwhile?.()
      if (fill) this.#feed(units.length, runAt, fill)
      while (this.#take(units.length, runAt));
    } catch (error) {
      // What others wait for will not come.
      Atomics.store(words, WORD.next, units.length)
      Atomics.store(words, WORD.ready, FAILED)
      Atomics.notify(words, WORD.ready)
      throw error
    } finally {
      Atomics.add(words, WORD.turn, 1)
      for (let busy = 1; busy > 0; busy = this.#await(WORD.busy, busy));
    }
    return units.map((_, i) => {
      const state = words[stateOf(i)]!
      if (state === FAILED) throw new Error('a kernel has failed on another thread')
      return state - 1
    })
  }

  /** Fills one tile after another as soon as its last unit has run; in between, lends a hand. */
  #feed(count: number, runAt: (i: number) => void, fill: (i: number) => void): void {
    for (let i = 0; i < count; ) {
      const last = i - this.tiles
      if (last < 0 || Atomics.load(this.#words, stateOf(last)) !== 0) {
        fill(i++)
        Atomics.store(this.#words, WORD.ready, i)
        Atomics.notify(this.#words, WORD.ready)
      } else if (!this.#take(i, runAt)) this.#await(stateOf(last), 0)
    }
  }

  /** Runs the next unit, if it comes before `end` and nobody else takes it. */
  #take(end: number, runAt: (i: number) => void): boolean {
    const i = Atomics.load(this.#words, WORD.next)
    if (i >= end) return false
    if (Atomics.compareExchange(this.#words, WORD.next, i, i + 1) === i) runAt(i)
    return true
  }

  /** Waits, or at least for a while, until a word has another value: others are in the middle of a unit. */
  #await(word: number, value: number): number {
    for (let spin = 0; spin < SPINS; spin++) {
      const now = Atomics.load(this.#words, word)
      if (now !== value) return now
    }
    if (this.#maySleep) Atomics.wait(this.#words, word, value)
    return Atomics.load(this.#words, word)
  }
}

function stateOf(unit: number): number {
  return WORD.table + UNIT_WORDS * unit + 2
}

/** Everywhere but in a page's own thread: that looks again and again, for no longer than a unit takes. */
function maySleep(words: Int32Array): boolean {
  try {
    Atomics.wait(words, WORD.units, -1, 0) // no phase has −1 units: it returns at once
    return true
  } catch (error) {
    if (error instanceof TypeError) return false
    throw error
  }
}
