// Serves the page and the text, and brings tabs together. The WebSockets carry only the signalling.
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { WebSocketServer } from 'ws'
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
  /** over WebSocket */
  readonly came: Readonly<Came>
  close(): Promise<void>
}

/** Tabs that ask for the same method make a ring; when it is full, the next ones make another. */
export async function serveRing({ host, port, tabs, steps, text }: Settings): Promise<RingServer> {
  const { symbols, shares, heldOut } = createCorpus(text, tabs)
  const files = new Map<string, { type: string; body: string | Uint8Array }>([
    ['/', { type: 'text/html', body: await readFile(pathOf('index.html')) }],
    ['/page.js', { type: 'text/javascript', body: await bundlePage() }],
    ['/text/held-out', { type: 'application/octet-stream', body: heldOut }],
    ...shares.map((body, i) => [`/text/${i}`, { type: 'application/octet-stream', body }] as const),
  ])
  const server = createServer(({ method, url }, response) => {
    const file = files.get(pathIn(url).pathname)
    if (method !== 'GET' || !file) response.writeHead(404).end()
    else response.setHeader('content-type', file.type).end(file.body)
  })
  const came: Came = { offers: 0, answers: 0, bytes: 0, refused: 0 }
  const sockets = new WebSocketServer({ server, path: '/ring', maxPayload: MAX_SIGNAL_BYTES })
  const rooms = new Map<Method, Room>()
  sockets.on('connection', (socket, { url }) => {
    const method = pathIn(url).searchParams.get('method') as Method
    if (!METHODS.includes(method)) return socket.close(1008, `expected one of ${METHODS}`)
    let room = rooms.get(method)
    if (!room || room.started) room = new Room(tabs, { steps, symbols }, came)
    rooms.set(method, room)
    room.enter(socket)
  })
  server.listen(port, host)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    came,
    async close() {
      for (const socket of sockets.clients) socket.terminate()
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
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

function pathIn(url: string | undefined): URL {
  return new URL(url ?? '/', 'http://localhost')
}
