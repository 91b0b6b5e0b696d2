// The demo's servers while strangers connect to them, and workers that send what they should not.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { createCompressor } from 'lowrank'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { WebSocket, WebSocketServer } from 'ws'
import { createFleet } from '../../examples/demo/coordinator.ts'
import { Bell, openDoor, visit } from '../../examples/demo/neighbours.ts'
import type { Run, Settings } from '../../examples/demo/run.ts'
import { createCorpus, readText } from '../../examples/demo/text.ts'
import { README } from './demo.ts'
import { allClosed, intrude } from './strangers.ts'

const PROGRAM = fileURLToPath(new URL('demo-fleet.ts', import.meta.url))
const settings: Settings = {
  ...{ workers: 2, method: 'powersgd', rank: 2, wire: 'f16', backend: 'wasm', software: false },
  ...{ steps: 2, seed: 0 },
}
const corpus = createCorpus(readText([README]), settings.workers)
const never = new AbortController().signal

const test = suite('strangers')

test('a run’s results are the same, and its process ends, whatever strangers send', async () => {
  const alone = await program()
  const visited = await program(intrude)
  const { code, told, strangers } = visited
  assert.is(code, 0, told)
  await allClosed(strangers)
  const [want, got] = [alone.told, told].map((json) => JSON.parse(json) as Run)
  assert.equal(got!.parameters, want!.parameters)
  assert.is(got!.sentBytes, want!.sentBytes)
  assert.equal(got!.measurements, want!.measurements)
})

test('a ring’s node lets its neighbour in, and nobody else', async () => {
  const [bell, other] = [new Bell(), new Bell()]
  const { port, neighbour } = await openDoor(1, 'token', bell)
  const strangers = await intrude(port)
  const there = await visit(0, port, 1, 'token', other)
  const here = await neighbour
  await allClosed(strangers)
  there.send(Uint8Array.of(1, 2, 3))
  while (here.inbox.length === 0) await bell.heard(1000)
  assert.equal([...here.inbox[0]!], [1, 2, 3])
  there.close('the end')
  here.close('the end')
})

const frame = async (sender: number) => {
  const compressor = await createCompressor([[4, 4]], { sender })
  return compressor.compressSync([new Float32Array(16)])
}
const damaged = async (sender: number) => {
  const bytes = await frame(sender)
  bytes[bytes.length - 1]! ^= 1
  return bytes
}
const ready = JSON.stringify({ type: 'ready' })

/** What worker 1 sends at first, and when training begins, and what the run says of it. */
const BAD: readonly {
  readonly first?: readonly (string | Uint8Array)[]
  readonly begun?: () => Promise<readonly (string | Uint8Array)[]>
  /** worker 0 sends a frame, so that there are all frames of a round */
  readonly other?: true
  readonly says: RegExp
}[] = [
  { first: ['null'], says: /before training began: expected an object, got null/ },
  { first: ['{"type":"rea'], says: /before training began: .*JSON/ },
  { first: ['{"type":"hello"}'], says: /"type": expected unable,ready,loss,done, got "hello"/ },
  { first: ['{"type":["ready"]}'], says: /"type": expected .* got \["ready"\]/ },
  { first: ['{"type":"unable"}'], says: /"reason": expected a string, got undefined/ },
  { first: [new Uint8Array(10)], says: /before training began: expected "ready"/ },
  { first: [ready, ready], says: /: expected nothing (more before training|now)/ },
  { begun: async () => [ready], says: /in step 1 of the .*: expected a frame, got "ready"/ },
  {
    begun: async () => [new Uint8Array(10)],
    says: /in step 1 of the compressed run: .*(bytes|magic)/,
  },
  { begun: async () => [await frame(0)], says: /expected its own frame, got one of sender 0/ },
  { begun: async () => [await frame(1), await frame(1)], says: /expected no second frame/ },
  { begun: async () => [await damaged(1)], other: true, says: /in step 1 of the .*checksum/ },
  {
    begun: async () => ['{"type":"done","parameters":"","compressionMs":0,"gradientMs":0}', ready],
    says: /expected a frame, got "ready"/,
  },
  {
    begun: async () => [
      '{"type":"done","parameters":"","compressionMs":0,"gradientMs":0}',
      new Uint8Array(7),
    ],
    says: /expected parameters, \d+ bytes, got 7/,
  },
]
for (const [i, { first = [ready], begun, other, says }] of BAD.entries()) {
  test(`a worker that sends ${says.source} is named (${i})`, async () => {
    const error = await played(async (number, send, hear) => {
      if (number === 0) {
        send(ready)
        await hear('begin')
        if (other) send(await frame(0))
        return
      }
      for (const message of first) send(message)
      await hear('begin')
      for (const message of (await begun?.()) ?? []) send(message)
    })
    assert.match(error, /^Error: worker 1 sent a bad message/)
    assert.match(error, says)
  })
}

test('a worker that breaks WebSocket’s protocol is named', async () => {
  const error = await played(async (number, send, _, socket) => {
    if (number === 0) send(ready)
    else (socket as unknown as { _socket: NodeJS.WritableStream })._socket.write('????')
  })
  assert.match(error, /^Error: worker 1 sent a bad message before .*: Invalid WebSocket frame/)
})

test.run()

/** Trains once, in a process of its own. @param visit  is given the port before workers start */
async function program<T>(visit: (port: number) => Promise<T[]> = async () => []) {
  const args = ['--import', 'tsx', PROGRAM]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (part) => {
    text += part
  })
  while (!text.includes('\n')) await once(child.stdout, 'data')
  const strangers = await visit(Number(text))
  child.stdin.end('go')
  const [code] = await ended
  return { code, told: text.split('\n')[1]!, strangers }
}

type Send = (message: string | Uint8Array) => void
type Hear = (type: string) => Promise<void>

/**
 * Starts a fleet whose processes reach this test instead of the coordinator, and plays the workers.
 *
 * @returns the error that ends it
 */
async function played(
  play: (number: number, send: Send, hear: Hear, socket: WebSocket) => Promise<void>,
): Promise<string> {
  const between = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  await once(between, 'listening')
  const open: WebSocket[] = []
  const reach = async (port: number) => {
    between.on('connection', (theirs, { url }) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}${url}`).on('error', () => {})
      const came: string[] = []
      socket.on('message', (data, isBinary) => came.push(isBinary ? 'bytes' : String(data)))
      const hear = async (type: string) => {
        while (!came.some((text) => text.includes(`"${type}"`))) await once(socket, 'message')
      }
      open.push(theirs, socket)
      const send: Send = (message) => socket.send(message)
      socket.on('open', () => play(Number(url!.at(-1)), send, hear, socket))
    })
    return (between.address() as { port: number }).port
  }
  try {
    const fleet = await createFleet(corpus, settings, never, reach)
    const error = await fleet.train(true, { step() {}, measured() {} }).catch(String)
    await fleet.close()
    return String(error)
  } catch (error) {
    return String(error)
  } finally {
    for (const socket of open) socket.terminate()
    between.close()
  }
}
