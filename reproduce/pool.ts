// Worker threads that execute runs, each one at a time.
import { Worker } from 'node:worker_threads'

/** Message to a thread: a run. */
export interface Order {
  readonly experiment: string
  readonly run: unknown
  readonly data: string
}

/** Message from a thread. */
export type Answer = Finished | { readonly failed: string }

export interface Finished {
  readonly result: unknown
  readonly seconds: number
}

export interface Pool {
  /**
   * Executes a run on an idle thread, or on a new one.
   *
   * @throws Error  with the message of the run's error, or if the pool has ended
   */
  execute(order: Order): Promise<Finished>
  /** Ends all threads, whatever they are doing. */
  end(): Promise<void>
}

// A thread does not inherit what `--import tsx` did in this one (Node 20).
const THREAD = `
  import('tsx/esm/api').then(({ register }) => {
    register()
    return import(${JSON.stringify(new URL('./thread.ts', import.meta.url).href)})
  })
`
/**
 * Time for runs to end the processes that they started. A run that computes does not receive the
 * signal.
 */
const GRACE_MS = 1000

export function createPool(): Pool {
  const idle: Worker[] = []
  const busy = new Map<Worker, Promise<unknown>>()
  let ended = false
  return {
    async execute(order) {
      if (ended) throw new Error('the pool has ended')
      const worker = idle.pop() ?? new Worker(THREAD, { eval: true })
      const answered = ask(worker, order)
      busy.set(worker, answered)
      const answer = await answered
      busy.delete(worker)
      idle.push(worker)
      if ('failed' in answer) throw new Error(answer.failed)
      return answer
    },
    async end() {
      ended = true
      for (const worker of busy.keys()) worker.postMessage('end')
      const settled = Promise.allSettled(busy.values())
      const late = new Promise((done) => setTimeout(done, GRACE_MS).unref())
      if (busy.size > 0) await Promise.race([settled, late])
      await Promise.all([...idle, ...busy.keys()].map((worker) => worker.terminate()))
    },
  }
}

function ask(worker: Worker, order: Order): Promise<Answer> {
  return new Promise((resolve, reject) => {
    worker.removeAllListeners()
    worker.once('message', resolve)
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error('its thread has ended')))
    worker.postMessage(order)
  })
}
