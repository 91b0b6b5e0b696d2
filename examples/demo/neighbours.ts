// A node's two WebSockets: the next node connects to this one, and this one to the previous node.
import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { listen } from './listen.ts'
import { MAX_MESSAGE_BYTES } from './protocol.ts'
import type { Sent } from './ringprotocol.ts'

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
  /** pings since its last sign of life */
  unanswered = 0
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
    socket.on('ping', () => {
      this.#headers += 2 + this.#maskBytes // of the pong, which ws has sent
    })
    socket.on('pong', () => {
      this.unanswered = 0
    })
    socket.on('message', (data: Buffer, isBinary) => {
      this.unanswered = 0
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

  /** Asks for a sign of life. */
  ping(): void {
    if (this.gone !== null) return
    this.unanswered++
    this.#headers += 2 + this.#maskBytes
    this.#socket.ping()
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
 * Listens for the next node. Others that connect are cut off.
 *
 * @param next  the only node that may connect, once
 * @param token  what it shows, and strangers do not know
 */
export async function openDoor(next: number, token: string, bell: Bell): Promise<Door> {
  let enter: (neighbour: Neighbour) => void
  const neighbour = new Promise<Neighbour>((resolve) => {
    enter = resolve
  })
  let open = true
  const { port, close } = await listen({
    maxPayload: MAX_MESSAGE_BYTES,
    admits: (url) => open && url === pathOf(next, token),
    admitted(socket, { socket: tcp }) {
      open = false
      enter(new Neighbour(next, socket, tcp, false, bell))
      close() // resolves only when the neighbour is gone
    },
  })
  return { port, neighbour }
}

/** Connects to the previous node. */
export async function visit(
  previous: number,
  port: number,
  self: number,
  token: string,
  bell: Bell,
): Promise<Neighbour> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${pathOf(self, token)}`, {
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
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

function pathOf(node: number, token: string): string {
  return `/${token}/${node}`
}

/** Bytes of WebSocket's extended length, for lengths that do not fit 7 bits (RFC 6455, §5.2). */
function extendedLength(bytes: number): number {
  if (bytes < 126) return 0
  return bytes < 2 ** 16 ? 2 : 8
}
