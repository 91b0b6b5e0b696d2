// A node's two WebSockets: the next node connects to this one, and this one to the previous node.
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { WebSocket, WebSocketServer } from 'ws'
import { MAX_MESSAGE_BYTES } from './protocol.ts'
import type { Sent } from './ringprotocol.ts'

const OPTIONS = { perMessageDeflate: false, maxPayload: MAX_MESSAGE_BYTES } // floats do not deflate

/** Wakes the waiting node: rings when a frame has come, or a connection has ended. */
export class Bell {
  #rung = false
  #wake: () => void = () => {}

  ring(): void {
    this.#rung = true
    this.#wake()
  }

  /**
   * Resolves with true when it rings or has rung since the last call, else with false after so
   * long.
   */
  async heard(milliseconds: number): Promise<boolean> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.max(0, milliseconds))
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    const rung = this.#rung
    this.#rung = false
    return rung
  }
}

/** A connection to a neighbour. */
export class Neighbour {
  readonly number: number
  /** frames that have come and have not been taken, in their order */
  readonly inbox: Uint8Array[] = []
  /** why it is gone; null: it is there */
  gone: string | null = null
  /** half-steps in a row in which it has not answered */
  missed = 0
  readonly #socket: WebSocket
  readonly #tcp: Socket
  readonly #before: number
  readonly #maskBytes: number
  #frames = 0
  #headers = 0

  /**
   * @param client  whether this end asked for the connection: WebSocket masks what a client sends
   */
  constructor(number: number, socket: WebSocket, tcp: Socket, client: boolean, bell: Bell) {
    this.number = number
    this.#socket = socket
    this.#tcp = tcp
    this.#before = tcp.bytesWritten // the handshake
    this.#maskBytes = client ? 4 : 0
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.inbox.push(data)
      else this.close('it has sent a text')
      bell.ring()
    })
    socket.on('error', ({ message }) => this.close(message))
    socket.on('close', () => {
      this.gone ??= 'the connection has ended'
      bell.ring()
    })
  }

  get sent(): Sent {
    const sockets = this.#tcp.bytesWritten - this.#before
    return { frames: this.#frames, headers: this.#headers, sockets }
  }

  send(frame: Uint8Array): void {
    if (this.gone !== null) return
    this.#frames += frame.length
    this.#headers += 2 + extendedLength(frame.length) + this.#maskBytes
    this.#socket.send(frame)
  }

  /** Ends the connection at once. */
  close(why: string): void {
    this.gone ??= why
    this.#socket.terminate()
  }
}

/** Where this node listens for the next one. */
export interface Door {
  readonly port: number
  readonly neighbour: Promise<Neighbour>
}

/**
 * Listens for the next node.
 *
 * @param next  the only node that may connect, once
 */
export async function openDoor(next: number, bell: Bell): Promise<Door> {
  const server = new WebSocketServer({ ...OPTIONS, host: '127.0.0.1', port: 0 })
  const neighbour = new Promise<Neighbour>((resolve) => {
    server.on('connection', (socket, { url, socket: tcp }) => {
      if (url !== `/${next}`) {
        socket.close(1008)
        return
      }
      resolve(new Neighbour(next, socket, tcp, false, bell))
      server.close() // open connections stay open
    })
  })
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, neighbour }
}

/** Connects to the previous node. */
export async function visit(
  previous: number,
  port: number,
  self: number,
  bell: Bell,
): Promise<Neighbour> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/${self}`, {
    ...OPTIONS,
    generateMask() {}, // zeros, as in worker.ts
  })
  // Before 'open', which a frame may follow at once.
  return new Promise((resolve, reject) => {
    socket.on('error', reject)
    socket.on('upgrade', ({ socket: tcp }) => {
      resolve(new Neighbour(previous, socket, tcp, true, bell))
    })
  })
}

/** Bytes of WebSocket's extended length, for lengths that do not fit 7 bits (RFC 6455, §5.2). */
function extendedLength(bytes: number): number {
  if (bytes < 126) return 0
  return bytes < 2 ** 16 ? 2 : 8
}
