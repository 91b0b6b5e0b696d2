// Serves pages to the browsers, and aggregates the fleet's frames for all its workers.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { aggregate } from 'lowrank'

export interface Server {
  readonly url: string
  /** A worker's frame in, the mean of all workers' out. */
  exchange(frame: Uint8Array): Promise<Uint8Array>
  close(): Promise<void>
}

const ISOLATED = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
}

/** Compiling WebAssembly is allowed; workers made of text are not. */
const NO_BLOBS = {
  'content-security-policy': "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'",
}

/** The page's script by the page's path and headers. */
const PAGES: Readonly<
  Record<string, { script: string; headers: Readonly<Record<string, string>> }>
> = {
  '/': { script: '/page.js', headers: {} },
  '/isolated': { script: '/page.js', headers: ISOLATED },
  '/blobless': { script: '/page.js', headers: { ...ISOLATED, ...NO_BLOBS } },
  '/strict': {
    script: '/page.js',
    headers: { 'content-security-policy': "default-src 'self'; script-src 'self'" },
  },
  '/allowed': { script: '/page.js', headers: NO_BLOBS },
  '/tests': { script: '/tests.js', headers: {} },
}

/**
 * Serves pages, each of them a script under other headers; POST `/mean` is `exchange`.
 *
 * @param scripts  by their paths
 * @param workers  how many frames make a round
 */
export async function serve(
  scripts: Readonly<Record<string, string>>,
  workers: number,
): Promise<Server> {
  const exchange = rounds(workers)
  const server = createServer((request, response) => {
    const { url, method } = request
    if (method === 'POST' && url === '/mean') {
      const mean = buffer(request).then(exchange) // also fails if the request is cut off
      mean.then(
        (mean) => response.end(mean),
        (error) => response.writeHead(400).end(String(error)),
      )
    } else if (url && url in scripts) {
      response.setHeader('content-type', 'text/javascript').end(scripts[url])
    } else if (url && url in PAGES) {
      const { script, headers } = PAGES[url]!
      response.writeHead(200, { ...headers, 'content-type': 'text/html' })
      response.end(
        `<!doctype html><title>lowrank</title><script type="module" src="${script}"></script>`,
      )
    } else response.writeHead(404).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    exchange,
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

/** Waits for everyone's frame, then answers all with their mean. */
function rounds(workers: number): (frame: Uint8Array) => Promise<Uint8Array> {
  let waiting: {
    frame: Uint8Array
    resolve: (mean: Uint8Array) => void
    reject: (error: unknown) => void
  }[] = []
  return (frame) =>
    new Promise((resolve, reject) => {
      waiting.push({ frame, resolve, reject })
      if (waiting.length < workers) return
      const all = waiting
      waiting = []
      try {
        const mean = aggregate(all.map((one) => one.frame))
        for (const one of all) one.resolve(mean)
      } catch (error) {
        for (const one of all) one.reject(error)
      }
    })
}
