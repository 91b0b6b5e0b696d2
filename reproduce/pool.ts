// Worker threads that execute runs, one each at a time.
import { Worker } from 'node:worker_threads'

/** A run, to a thread. */
export interface Order {
  readonly experiment: string
  readonly run: unknown
  readonly data: string
}

/** From a thread. */
export type Answer = Finished | { readonly failed: string }

export interface Finished {
  readonly result: unknown
  readonly seconds: number
}

export interface Pool {
  /**
   * On a thread that has nothing else to do, or a new one.
   *
   * @throws Error  with what the run threw, or if the pool has ended
   */
  execute(order: Order): Promise<Finished>
  /** Ends all threads, whatever they are doing. */
  end(): Promise<void>
}

// A thread does not inherit what `--import tsx` has done in this one (Node 20).
const THREAD = `
  import('tsx/esm/api').then(({ register }) => {
    register()
    return import(${JSON.stringify(new URL('./thread.ts', import.meta.url).href)})
  })
`
/** For runs that have something to end; one that computes does not even hear of it. */
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
