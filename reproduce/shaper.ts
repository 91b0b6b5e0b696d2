// A TCP proxy that is a slow, long line between whoever connects and a port of this machine.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** Each connection has a line of its own, each direction all of it. */
export interface Line {
  readonly bitsPerSecond: number
  /** one way */
  readonly delayMs: number
}

export interface Shaper {
  /** of 127.0.0.1: whoever connects here is connected to the port behind the line */
  readonly port: number
  /** Resets all connections. */
  close(): Promise<void>
}

/**
 * What waits to be sent, in seconds of the line, but no less than LEAST_BYTES: so much that a line is not
 * idle because a timer of this process was late.
 */
const WAITING_SECONDS = 0.02
const LEAST_BYTES = 64 * 1024

/** @param port  of 127.0.0.1, to which connections go on */
export async function createShaper(port: number, line: Line): Promise<Shaper> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    const far = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
    }
    carry(near, far, line)
    carry(far, near, line)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.resetAndDestroy()
      await closed
    },
  }
}

/** What has been put on the line, and when the last of it arrives. */
interface Parcel {
  readonly what: Buffer | 'end' | 'reset'
  readonly at: number
}

/**
 * Carries one direction: bytes in their order, the end of the stream, a reset. A token bucket without any
 * burst: n bytes keep the line busy for n · 8 / bitsPerSecond, and arrive `delayMs` after that. The
 * sender is read no further while the line is full, or while the receiver does not take what has arrived.
 */
function carry(from: Socket, to: Socket, { bitsPerSecond, delayMs }: Line): void {
  const bytesPerMs = bitsPerSecond / 8000
  const most =
    Math.max(LEAST_BYTES, bytesPerMs * 1000 * WAITING_SECONDS) + Math.ceil(bytesPerMs * delayMs)
  const parcels: Parcel[] = []
  let bytes = 0 // in parcels
  let free = 0 // the time from which the line can send more
  let timer: NodeJS.Timeout | undefined
  let blocked = false // `to` has more than it wants, and tells when it has not

  from.on('data', (data) => {
    free = Math.max(free, performance.now()) + data.length / bytesPerMs
    bytes += data.length
    if (bytes >= most) from.pause()
    put(data)
  })
  from.on('end', () => put('end'))
  from.on('error', () => put('reset')) // also if there is nobody behind the port
  to.on('drain', () => {
    blocked = false
    deliver()
  })
  to.on('close', () => clearTimeout(timer))

  function put(what: Parcel['what']): void {
    parcels.push({ what, at: Math.max(free, performance.now()) + delayMs })
    if (timer === undefined && !blocked) deliver()
  }

  function deliver(): void {
    clearTimeout(timer)
    timer = undefined
    while (parcels.length > 0 && !blocked && !to.destroyed) {
      const { what, at } = parcels[0]!
      const left = at - performance.now()
      if (left > 0) {
        timer = setTimeout(deliver, Math.ceil(left))
        break
      }
      parcels.shift()
      if (what === 'end') to.end()
      else if (what === 'reset') to.resetAndDestroy()
      else {
        bytes -= what.length
        blocked = !to.write(what)
      }
    }
    if (bytes < most) from.resume()
  }
}
