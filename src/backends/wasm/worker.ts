// Starts a thread: a worker thread in Node, Bun and Deno, a web worker in browsers.
import { UnsupportedError } from '../../errors.ts'

/** A running thread. */
export interface Thread {
  post(message: unknown): void
  /** Sets whether the thread keeps the process from ending. At first, it does. */
  keepAlive(yes: boolean): void
  end(): void
}

interface NodeWorker {
  on(event: 'message' | 'error', listener: (value: unknown) => void): void
  postMessage(message: unknown): void
  ref(): void
  unref(): void
  terminate(): Promise<number>
}

/** The part of `process` in Node, Bun and Deno that loads a built-in module unseen by bundlers. */
interface Process {
  getBuiltinModule?(
    name: 'node:worker_threads',
  ):
    | { Worker: new (source: string, options: { eval: true; execArgv: [] }) => NodeWorker }
    | undefined
}

/**
 * Starts a thread.
 *
 * @param source  its program: JavaScript that listens to messages
 * @param onMessage  called with each of its messages
 * @param onError  called with the reason if it could not be started, or has failed
 * @throws UnsupportedError  if this host has no threads, or a policy forbids them
 */
export function startThread(
  source: string,
  onMessage: (message: unknown) => void,
  onError: (reason: string) => void,
): Thread {
  const { process } = globalThis as { process?: Process }
  const node = process?.getBuiltinModule?.('node:worker_threads')
  if (node) {
    // Without this process's arguments, such as a loader: the program needs none.
    const worker = new node.Worker(source, { eval: true, execArgv: [] })
    worker.on('message', onMessage)
    worker.on('error', (error) => onError(String(error)))
    return {
      post: (message) => worker.postMessage(message),
      keepAlive: (yes) => (yes ? worker.ref() : worker.unref()),
      end: () => void worker.terminate(),
    }
  }
  if (typeof Worker === 'undefined') {
    throw new UnsupportedError('"threads": this host has no workers')
  }
  const worker = startWeb(source)
  worker.onmessage = ({ data }) => onMessage(data)
  worker.onerror = (event) => {
    event.preventDefault() // `onError` reports it
    onError(event.message ?? "add 'blob:' to worker-src in the content security policy")
  }
  return {
    post: (message) => worker.postMessage(message),
    keepAlive: () => {}, // a worker does not outlive its page
    end: () => worker.terminate(),
  }
}

function startWeb(source: string): Worker {
  let url = ''
  try {
    url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }))
    return new Worker(url)
  } catch (cause) {
    throw new UnsupportedError(`"threads": a worker could not be started: ${cause}`, { cause })
  } finally {
    if (url) URL.revokeObjectURL(url) // the worker has the source already
  }
}
