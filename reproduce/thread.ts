// A worker thread of the pool: executes the runs that it is given, one after another.
import { parentPort } from 'node:worker_threads'
import { EXPERIMENTS } from './experiments.ts'
import type { Answer, Order } from './pool.ts'

const port = parentPort!
const ending = new AbortController()

port.on('message', async (order: Order | 'end') => {
  if (order === 'end') return ending.abort()
  port.postMessage(await answer(order))
})

async function answer({ experiment, run, data }: Order): Promise<Answer> {
  try {
    const { execute } = await EXPERIMENTS[experiment]!()
    const begun = performance.now()
    const result = await execute(run, { data, signal: ending.signal })
    return { result, seconds: (performance.now() - begun) / 1000 }
  } catch (error) {
    return { failed: error instanceof Error ? (error.stack ?? error.message) : `${error}` }
  }
}
