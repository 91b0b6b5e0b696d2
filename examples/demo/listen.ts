// A server for WebSockets that holds out where strangers connect, too: any program on the machine
// can reach its port, and in a browser, any page. Copy this file.
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'

export interface Entrance {
  /** default: 127.0.0.1, which only this machine reaches */
  readonly host?: string
  /** default: any free port */
  readonly port?: number
  /** bytes of a message; a WebSocket that gets a longer one has an error, and ends */
  readonly maxPayload: number
  /** Answers requests for pages. Default: ends their connections */
  readonly serve?: RequestListener
  /**
   * Whether a WebSocket is opened for this URL, which is `/…` as the request has it, and any text.
   * Let it contain a secret. Whoever is not admitted is cut off before anything is read as a frame.
   */
  readonly admits: (url: string) => boolean
  /** Takes a WebSocket that is open. Attach its listeners, that of 'error' above all, at once */
  readonly admitted: (socket: WebSocket, request: IncomingMessage) => void
}

export interface Listening {
  readonly port: number
  /**
   * Lets nobody in any more, and ends all connections but the WebSockets, which are yours to
   * terminate. Resolves when these have ended as well.
   */
  close(): Promise<void>
}

/** @throws Error  if it cannot listen there */
export async function listen(entrance: Entrance): Promise<Listening> {
  const { host = '127.0.0.1', port = 0, maxPayload, admits, admitted } = entrance
  const cutOff: RequestListener = ({ socket }) => socket.destroy()
  const server = createServer(entrance.serve ?? cutOff)
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false, // floats do not deflate
    maxPayload,
  })
  const strangers = new Set<Socket>()
  server.on('connection', (socket) => {
    strangers.add(socket)
    socket.on('close', () => strangers.delete(socket))
  })
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head) => {
    if (!admits(request.url!)) return socket.destroy()
    sockets.handleUpgrade(request, socket, head, (opened) => {
      strangers.delete(socket)
      admitted(opened, request)
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.on('error', reject) // later ones are of connections that came when no file was free
    server.listen(port, host, resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const socket of strangers) socket.destroy()
      return closed
    },
  }
}
