// Runs in Node, Bun and Deno: prints the golden hashes of the main thread and of a worker, and the
// one that relaxed SIMD must not change.
import { once } from 'node:events'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { golden, relaxedUpdate } from './golden.ts'

if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url))
  const [[inWorker], inMain] = await Promise.all([once(worker, 'message'), golden()])
  await worker.terminate()
  console.log(JSON.stringify({ inMain, inWorker, relaxed: await relaxedUpdate() }))
} else parentPort!.postMessage(await golden())
