// The shaping proxy, over real sockets. Times have lower bounds only: how late things may be
// depends on the machine, how early they may be on the line.
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { createShaper, type Line, type Shaper } from '../shaper.ts'

const test = suite('shaper')

/** The error of clocks between two readings, and nothing else. */
const TOLERANCE = 0.99

/** Two ends of a connection through a line. */
interface Ends {
  readonly near: Socket
  readonly far: Socket
}

const open: { server: Server; shaper: Shaper; ends: Ends }[] = []

/** @param pauseOnConnect  the far end reads nothing until the test resumes it */
async function connectOver(line: Line, pauseOnConnect = false): Promise<Ends> {
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const shaper = await createShaper((server.address() as AddressInfo).port, line)
  const accepted = once(server, 'connection')
  const to = { host: '127.0.0.1', port: shaper.port }
  const near = connect({ ...to, allowHalfOpen: true, noDelay: true })
  const [far] = (await accepted) as [Socket]
  open.push({ server, shaper, ends: { near, far } })
  return { near, far }
}

test.after.each(async () => {
  for (const { server, shaper, ends } of open.splice(0)) {
    for (const socket of Object.values(ends)) socket.on('error', () => {}).destroy()
    await shaper.close()
    server.close()
  }
})

/** Reads all bytes until the other end closes its direction. */
async function read(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk)) // an iterator would destroy the socket
  await once(socket, 'end')
  return Buffer.concat(chunks)
}

test('bytes arrive unchanged and in order, not before the line can have carried them', async () => {
  const line: Line = { bitsPerSecond: 20e6, delayMs: 30 }
  const { near, far } = await connectOver(line)
  const sent = bytesOf(1_000_000, 1)
  const answer = bytesOf(500_000, 2)
  const begun = performance.now()
  near.end(sent)
  const got = await read(far)
  const middle = performance.now()
  assert.ok(got.equals(sent))
  assert.ok(middle - begun >= TOLERANCE * (400 + 30), `${middle - begun} ms`)
  // The other direction: `near` has ended its own direction, and still listens.
  far.end(answer)
  assert.ok((await read(near)).equals(answer))
  const back = performance.now() - middle
  assert.ok(back >= TOLERANCE * (200 + 30), `${back} ms`)
})

test('both directions and every connection have the whole line', async () => {
  const line: Line = { bitsPerSecond: 8e6, delayMs: 0 }
  const all = await Promise.all([connectOver(line), connectOver(line)])
  await Promise.all(
    all.map(async ({ near, far }, i) => {
      const there = bytesOf(200_000, i)
      const back = bytesOf(100_000, 9 + i)
      const begun = performance.now()
      near.end(there)
      far.end(back)
      const [a, b] = await Promise.all([read(far), read(near)])
      assert.ok(a.equals(there) && b.equals(back))
      assert.ok(performance.now() - begun >= TOLERANCE * 200)
    }),
  )
})

test('small messages take the delay, there and back', async () => {
  const { near, far } = await connectOver({ bitsPerSecond: 1e9, delayMs: 60 })
  far.pipe(far)
  near.write('warm')
  await once(near, 'data')
  const begun = performance.now()
  for (let i = 0; i < 3; i++) {
    near.write('there and back')
    const [data] = await once(near, 'data')
    assert.is(String(data), 'there and back')
  }
  const taken = performance.now() - begun
  assert.ok(taken >= TOLERANCE * 6 * 60, `${taken} ms`)
})

test('a receiver that does not read holds up the sender, and gets everything in the end', async () => {
  const { near, far } = await connectOver({ bitsPerSecond: 1e9, delayMs: 1 }, true)
  const sent = bytesOf(48_000_000, 3) // 384 ms of the line, and more than the system's buffers
  near.end(sent)
  await setTimeout(800)
  assert.ok(near.writableLength > 0, 'all of it has left')
  const hash = createHash('sha256')
  far.on('data', (data) => hash.update(data)).resume()
  await once(far, 'end')
  assert.is(hash.digest('hex'), createHash('sha256').update(sent).digest('hex'))
})

test('a reset passes through, both ways', async () => {
  for (const side of ['near', 'far'] as const) {
    const ends = await connectOver({ bitsPerSecond: 1e8, delayMs: 40 })
    const { near, far } = ends
    near.write('hello')
    assert.is(String((await once(far, 'data'))[0]), 'hello')
    const other = ends[side === 'near' ? 'far' : 'near'].resume()
    const begun = performance.now()
    ends[side].resetAndDestroy()
    const [error] = await once(other, 'error', { signal: AbortSignal.timeout(3000) }).catch(
      (error) => [error],
    )
    assert.is(error.code, 'ECONNRESET', side)
    assert.ok(performance.now() - begun >= TOLERANCE * 40)
  }
})

test('where nobody listens, connections are reset', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  const shaper = await createShaper(port, { bitsPerSecond: 1e8, delayMs: 0 })
  const near = connect(shaper.port, '127.0.0.1').resume()
  const error = await once(near, 'close').catch((error) => error)
  assert.is(error.code, 'ECONNRESET')
  await shaper.close()
})

/** Bytes in which no stretch is like another. */
function bytesOf(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  let state = seed + 1
  for (let i = 0; i + 4 <= length; i += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes.writeUInt32LE(state, i)
  }
  return bytes
}

test.run()
