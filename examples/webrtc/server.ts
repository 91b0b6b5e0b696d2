// Serves the page and the text, and brings tabs together. The WebSockets carry only the signalling.
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { WebSocket } from 'ws'
import { listen } from '../demo/listen.ts'
import { createCorpus } from '../demo/text.ts'
import { MAX_SIGNAL_BYTES, METHODS, type Method } from './protocol.ts'
import { type Came, Room } from './room.ts'

export interface Settings {
  readonly host: string
  /** 0: any free port */
  readonly port: number
  /** how many tabs make a ring, 2 or more */
  readonly tabs: number
  readonly steps: number
  /** each tab trains on a share of it */
  readonly text: string
}

export interface RingServer {
  readonly port: number
  /** of the page: `/` and a random token, without which the server gives nothing away, and `/` */
  readonly path: string
  /** over WebSocket */
  readonly came: Readonly<Came>
  close(): Promise<void>
}

/**
 * Tabs that ask for the same method make a ring; when it is full, the next ones make another.
 *
 * @throws Error  if it cannot listen there
 */
export async function serveRing({ host, port, tabs, steps, text }: Settings): Promise<RingServer> {
  const { symbols, shares, heldOut } = createCorpus(text, tabs)
  const path = `/${randomUUID()}/`
  const bytes = 'application/octet-stream'
  const files = new Map<string, { type: string; body: string | Uint8Array }>([
    [path, { type: 'text/html', body: await readFile(pathOf('index.html')) }],
    [`${path}page.js`, { type: 'text/javascript', body: await bundlePage() }],
    [`${path}text/held-out`, { type: bytes, body: heldOut }],
    ...shares.map((body, i) => [`${path}text/${i}`, { type: bytes, body }] as const),
  ])
  const came: Came = { offers: 0, answers: 0, bytes: 0, refused: 0 }
  const clients = new Set<WebSocket>()
  const rooms = new Map<string, Room>()
  // A URL that strangers write may be any text, and `new URL` may throw.
  const { port: opened, close } = await listen({
    host,
    port,
    maxPayload: MAX_SIGNAL_BYTES,
    serve({ method, url }, response) {
      const file = files.get(url!.split('?')[0]!)
      if (method !== 'GET' || !file) response.writeHead(404).end()
      else response.setHeader('content-type', file.type).end(file.body)
    },
    admits: (url) => url.split('?')[0] === `${path}ring`,
    admitted(socket, { url }) {
      clients.add(socket)
      socket.on('close', () => clients.delete(socket))
      const method = new URLSearchParams(url!.split('?')[1]).get('method') as Method
      if (!METHODS.includes(method)) {
        socket.on('error', () => {}) // it is closed in any case
        return socket.close(1008, `expected one of ${METHODS}`)
      }
      let room = rooms.get(method)
      if (!room || room.started) room = new Room(tabs, { steps, symbols }, came)
      rooms.set(method, room)
      room.enter(socket)
    },
  })
  return {
    port: opened,
    path,
    came,
    async close() {
      for (const socket of clients) socket.terminate()
      await close()
    },
  }
}

/** The page's script with the package inside, as an application's bundler makes it. */
async function bundlePage(): Promise<Uint8Array> {
  const { outputFiles } = await build({
    entryPoints: [pathOf('page.ts')],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    write: false,
  })
  return outputFiles[0]!.contents
}

function pathOf(file: string): string {
  return fileURLToPath(new URL(file, import.meta.url))
}
