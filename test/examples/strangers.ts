// What a stranger on the same machine, or a page in a browser, may send to a port.
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { WebSocket } from 'ws'

const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const upgrade = (path: string) =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
  `Sec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n`
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
const BROKEN = Buffer.from([0xff, 0xff, 0xff, 0xff])

/** Bytes on a connection. */
const SENT: Readonly<Record<string, readonly (string | Uint8Array)[]>> = {
  'ten bytes': [new Uint8Array(10)],
  'half a request': ['GET / HTTP/1.1\r\nHost: a'],
  'GET //': [get('//')],
  'GET /%00': [get('/%00')],
  'GET /%': [get('/%')],
  'a path upwards': [get('/../../../../etc/passwd')],
  'a URL that is none': [get('http://[')],
  'no path': [get('*')],
  'OPTIONS *': ['OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n'],
  CONNECT: ['CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n'],
  'a POST': ['POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nnull'],
  'half a POST': ['POST /mean HTTP/1.1\r\nHost: a\r\nContent-Length: 400\r\n\r\nnull'],
  'an upgrade to something else': [
    'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n',
  ],
  ...Object.fromEntries(
    ['/', '//', '/0', '/1', '/99', '/ring', '/ring?method=plain', '/undefined/0', '/%00'].map(
      (path) => [`a WebSocket for ${path} with a broken frame`, [upgrade(path), BROKEN]],
    ),
  ),
}

/** Messages on a WebSocket. */
const MESSAGES: readonly (string | Uint8Array)[] = [
  'null',
  '{"type":"hello","worker":99}',
  '{"type":"hello","worker":0}',
  '{"type":"hel',
  new Uint8Array(10),
  new Uint8Array(1 << 24),
]

/**
 * Does all this to a port of this machine.
 *
 * @returns connections that remain silent
 */
export async function intrude(port: number): Promise<Socket[]> {
  const silent = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')]
  for (const socket of silent) {
    socket.on('error', () => {}) // they may be reset
    await once(socket, 'connect')
  }
  silent[1]!.write('G')
  for (const parts of Object.values(SENT)) {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    await once(socket, 'connect')
    for (const part of parts) {
      socket.write(part)
      await new Promise(setImmediate)
    }
    silent.push(socket.resume())
  }
  for (const path of ['/', '/0', '/1', '/ring', '/ring?method=plain']) {
    for (const message of MESSAGES) {
      const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`).on('error', () => {})
      socket.on('open', () => socket.send(message))
      await new Promise((resolve) => socket.on('close', resolve))
    }
  }
  return silent
}

/** Resolves when all have ended. */
export async function allClosed(sockets: readonly Socket[]): Promise<void> {
  for (const socket of sockets) {
    if (!socket.closed) await new Promise((resolve) => socket.on('close', resolve))
  }
}
