// A TCP proxy that acts as a slow, long line to a port of this machine.
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** Each connection has a line of its own, with the full rate in each direction. */
export interface Line {
  readonly bitsPerSecond: number
  /** one way */
  readonly delayMs: number
}

export interface Shaper {
  /** port of 127.0.0.1; its connections lead to the port behind the line */
  readonly port: number
  /** Resets all connections. */
  close(): Promise<void>
}

/**
 * The queue before the line, in seconds of the line, but no less than LEAST_BYTES. It is so long
 * that a late timer of this process does not leave the line idle.
 */
const WAITING_SECONDS = 0.02
const LEAST_BYTES = 64 * 1024

/** @param port  of 127.0.0.1, behind the line */
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

/** A chunk or an event on the line, and the time when the last of it arrives. */
interface Parcel {
  readonly what: Buffer | 'end' | 'reset'
  readonly at: number
}

/**
 * Carries one direction: bytes in their order, the end of the stream, a reset. It is a token bucket
 * without a burst: n bytes keep the line busy for n · 8 / bitsPerSecond, and arrive `delayMs` after
 * that. While the line is full, or the receiver does not take what has arrived, no more is read
 * from the sender.
 */
function carry(from: Socket, to: Socket, { bitsPerSecond, delayMs }: Line): void {
  const bytesPerMs = bitsPerSecond / 8000
  const most =
    Math.max(LEAST_BYTES, bytesPerMs * 1000 * WAITING_SECONDS) + Math.ceil(bytesPerMs * delayMs)
  const parcels: Parcel[] = []
  let bytes = 0 // in parcels
  let free = 0 // the time from which the line can send more
  let timer: NodeJS.Timeout | undefined
  let blocked = false // `to` has buffered enough; it emits `drain` when it wants more

  from.on('data', (data) => {
    free = Math.max(free, performance.now()) + data.length / bytesPerMs
    bytes += data.length
    if (bytes >= most) from.pause()
    put(data)
  })
  from.on('end', () => put('end'))
  from.on('error', () => put('reset')) // also if nothing listens on the port
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
