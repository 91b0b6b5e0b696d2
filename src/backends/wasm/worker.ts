// One more thread, in Node (or what is like it) and in browsers.
import { UnsupportedError } from '../../errors.ts'

/** A thread as its owner sees it. */
export interface Thread {
  post(message: unknown): void
  /** Whether it keeps the process from ending, as it does at first. */
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

/** What Node, Bun and Deno have, and no bundler sees. */
interface Process {
  getBuiltinModule?(
    name: 'node:worker_threads',
  ):
    | { Worker: new (source: string, options: { eval: true; execArgv: [] }) => NodeWorker }
    | undefined
}

/**
 * @param source  JavaScript that listens to messages
 * @param onMessage  gets its messages
 * @param onError gets why it could not be started, or has ended
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
    // Without the arguments of this process: a loader, say, that the source has no use for.
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
    event.preventDefault() // it is told to who waits
    onError(event.message ?? "add 'blob:' to worker-src in the content security policy")
  }
  return {
    post: (message) => worker.postMessage(message),
    keepAlive: () => {}, // a page ends when it ends
    end: () => worker.terminate(),
  }
}

function startWeb(source: string): Worker {
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }))
  try {
    return new Worker(url)
  } catch (cause) {
    throw new UnsupportedError(`"threads": a worker could not be started: ${cause}`, { cause })
  } finally {
    URL.revokeObjectURL(url) // it has been taken
  }
}
