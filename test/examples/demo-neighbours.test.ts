// A node of the ring demo with neighbours, over WebSocket, that are early, late, silent or gone.
import { once } from 'node:events'
import { connect as connectTo } from 'node:net'
import { createGossip, type Gossip } from 'lowrank/gossip'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { WebSocket } from 'ws'
import { hear, leaveLost } from '../../examples/demo/halfsteps.ts'
import { Bell, Neighbour, openDoor, visit } from '../../examples/demo/neighbours.ts'
import { gaussian } from '../support/gaussian.ts'
import { until } from '../support/until.ts'

const SHAPES = [[6, 5], [3]]
const TOKEN = 'token'
const PING_MS = 5 // so that a silent neighbour is given up soon

/** One node: its parameters, and its ends of connections. */
interface Node {
  readonly gossip: Gossip
  readonly x: Float32Array[]
  readonly bell: Bell
  readonly neighbours: Map<number, Neighbour>
}

async function createNode(self: number, others: readonly number[]): Promise<Node> {
  const weights = Object.fromEntries(others.map((id) => [id, 1 / 3]))
  return {
    gossip: await createGossip(SHAPES, { self, neighbours: weights }),
    x: [gaussian(30, self), gaussian(3, 10 + self)],
    bell: new Bell(),
    neighbours: new Map(),
  }
}

/** Connects b to a. @param answers  whether b answers pings: a node that hangs does not */
async function connect(
  a: Node,
  aNumber: number,
  b: Node,
  bNumber: number,
  answers = true,
): Promise<void> {
  const { port, neighbour } = await openDoor(bNumber, TOKEN, a.bell)
  if (answers) b.neighbours.set(aNumber, await visit(aNumber, port, bNumber, TOKEN, b.bell))
  else {
    const socket = new WebSocket(urlOf(port, bNumber), { autoPong: false })
    const [{ socket: tcp }] = await once(socket, 'upgrade')
    b.neighbours.set(aNumber, new Neighbour(aNumber, socket, tcp, true, b.bell))
  }
  a.neighbours.set(bNumber, await neighbour)
}

function urlOf(port: number, node: number, token = TOKEN): string {
  return `ws://127.0.0.1:${port}/${token}/${node}`
}

async function begin({ gossip, x, neighbours }: Node): Promise<void> {
  for (const [id, frame] of await gossip.begin(x)) neighbours.get(id)!.send(frame)
}

async function end({ gossip, x, neighbours, bell }: Node) {
  await hear(gossip, neighbours, bell, PING_MS)
  const { outcomes } = await gossip.apply(x)
  const left = leaveLost(gossip, neighbours).map(({ number, gone }) => [number, gone])
  return { outcomes: Object.fromEntries(outcomes), left }
}

/** Waits until so many frames have come and not been taken. */
async function arrived({ neighbours }: Node, from: number, frames: number): Promise<void> {
  const { inbox } = neighbours.get(from)!
  await until(`${frames} frames of ${from} have come`, () => inbox.length >= frames)
  assert.is(inbox.length, frames)
}

const close = (...nodes: Node[]): void => {
  for (const { neighbours } of nodes) for (const one of neighbours.values()) one.close('the end')
}

const test = suite('neighbours in a ring')

test('early frames are kept, late ones forgotten, and those who are slow catch up', async () => {
  const [a, b, c] = [
    await createNode(0, [1, 2]),
    await createNode(1, [0]),
    await createNode(2, [0]),
  ]
  await connect(a, 0, b, 1)
  await connect(a, 0, c, 2, false)

  await Promise.all([begin(a), begin(b)])
  assert.equal(await end(a), { outcomes: { 1: 'exchanged', 2: 'missed' }, left: [] })
  await end(b)

  await begin(b)
  await arrived(a, 1, 1)
  const [early] = a.neighbours.get(1)!.inbox
  assert.is(a.gossip.receive(1, early!), 'early')
  await begin(c)
  await arrived(a, 2, 1) // the frame of an iteration that a has ended
  await begin(a)
  assert.equal(await end(a), { outcomes: { 1: 'exchanged', 2: 'missed' }, left: [] })
  assert.is(a.neighbours.get(2)!.inbox.length, 0)
  assert.is(a.neighbours.get(2)!.missed, 2)
  await end(b)

  // c has both of a's frames. It applies an exchange that a has not, and a's second frame undoes
  // it.
  assert.equal((await end(c)).outcomes, { 0: 'exchanged' })
  await begin(c)
  assert.equal((await end(c)).outcomes, { 0: 'retracted' })
  await Promise.all([begin(a), begin(b), begin(c)])
  const ends = await Promise.all([end(a), end(b), end(c)])
  assert.equal(ends[0], { outcomes: { 1: 'exchanged', 2: 'exchanged' }, left: [] })
  assert.is(a.neighbours.get(2)!.missed, 0)
  close(a, b, c)
})

test('who ends a connection is left at once', async () => {
  const [a, b] = [await createNode(0, [1]), await createNode(1, [0])]
  await connect(a, 0, b, 1)
  await begin(a)
  close(b)
  const { outcomes, left } = await end(a)
  assert.equal(outcomes, { 1: 'missed' })
  assert.equal(left, [[1, 'the connection has ended']])
  assert.equal(a.gossip.neighbours, [])
  await begin(a) // and goes on alone
  assert.equal(await end(a), { outcomes: {}, left: [] })
})

test('who is silent is left after three half-steps', async () => {
  const [a, b] = [await createNode(0, [1]), await createNode(1, [0])]
  await connect(a, 0, b, 1, false)
  const left: unknown[] = []
  for (let step = 0; step < 3; step++) {
    await begin(a)
    left.push((await end(a)).left)
  }
  assert.equal(left, [[], [], [[1, 'missed 3 half-steps in a row']]])
  const end0 = b.neighbours.get(0)!
  await until('the connection has ended', () => end0.gone !== null)
  await begin(b)
  assert.equal((await end(b)).left, [[0, 'the connection has ended']])
})

test('who is late, but answers pings, is waited for', async () => {
  const [a, b] = [await createNode(0, [1]), await createNode(1, [0])]
  await connect(a, 0, b, 1)
  await begin(a)
  let over = false
  const ended = end(a).finally(() => {
    over = true
  })
  const before = a.neighbours.get(1)!.sent.headers
  const pings = () => (a.neighbours.get(1)!.sent.headers - before) / 2
  await until('there are many pings', () => over || pings() > 30) // thrice what silence takes
  await begin(b)
  assert.equal(await ended, { outcomes: { 1: 'exchanged' }, left: [] })
  await end(b)
  close(a, b)
})

test('who has gone on without its frame is not waited for', async () => {
  const [a, b] = [await createNode(0, [1]), await createNode(1, [0])]
  await connect(a, 0, b, 1)
  await begin(a)
  await b.gossip.begin(b.x) // its frame is never sent
  b.gossip.giveUp(0)
  await b.gossip.apply(b.x)
  await begin(b)
  assert.equal((await end(a)).outcomes, { 1: 'missed' })
  close(a, b)
})

test('who sends no frame is left, and only who is expected is let in, once', async () => {
  const a = await createNode(0, [1])
  const { port, neighbour } = await openDoor(1, TOKEN, a.bell)
  const silent = connectTo(port, '127.0.0.1')
  await once(silent, 'connect')
  for (const url of [urlOf(port, 2), urlOf(port, 1, 'guess'), `ws://127.0.0.1:${port}/1`]) {
    const stranger = new WebSocket(url)
    const [error] = await once(stranger, 'error')
    assert.match(String(error), /socket hang up|ECONNRESET/)
  }
  const expected = new WebSocket(urlOf(port, 1))
  await once(expected, 'open')
  a.neighbours.set(1, await neighbour)
  if (!silent.closed) await once(silent, 'close')
  const [again] = await once(new WebSocket(urlOf(port, 1)), 'error')
  assert.match(String(again), 'ECONNREFUSED')
  expected.send(Buffer.from('no frame'))
  await begin(a)
  const { outcomes, left } = await end(a)
  assert.equal(outcomes, { 1: 'missed' })
  assert.match(String(left), /^1,.*(expected|magic|bytes)/)
})

test('bytes on the socket are those of frames and their headers, of any length', async () => {
  const [a, b] = [await createNode(0, [1]), await createNode(1, [0])]
  await connect(a, 0, b, 1)
  const pairs = [
    [a.neighbours.get(1)!, b, 0],
    [b.neighbours.get(0)!, a, 1],
  ] as const
  for (const [from, to, number] of pairs) {
    for (const length of [1, 125, 126, 65535, 65536]) from.send(new Uint8Array(length))
    await arrived(to, number, 5)
    from.ping()
    await until('the ping is answered', () => from.unanswered === 0)
    const { frames, headers, sockets } = from.sent
    assert.is(frames, 1 + 125 + 126 + 65535 + 65536)
    assert.is(sockets, frames + headers)
  }
  for (const { neighbours } of [a, b]) {
    for (const { sent } of neighbours.values()) assert.is(sent.sockets, sent.frames + sent.headers)
  }
  close(a, b)
})

test.run()
