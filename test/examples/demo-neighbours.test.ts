// A node of the ring demo with neighbours, over WebSocket, that are early, late, silent or gone.
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { createGossip, type Gossip } from 'lowrank/gossip'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { WebSocket } from 'ws'
import { hear, leaveLost } from '../../examples/demo/halfsteps.ts'
import { Bell, type Neighbour, openDoor, visit } from '../../examples/demo/neighbours.ts'
import { gaussian } from '../support/gaussian.ts'

const SHAPES = [[6, 5], [3]]
const SHORT_MS = 100
const LONG_MS = 20_000 // never waited for to its end

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

/** Connects b to a. */
async function connect(a: Node, aNumber: number, b: Node, bNumber: number): Promise<void> {
  const { port, neighbour } = await openDoor(bNumber, a.bell)
  b.neighbours.set(aNumber, await visit(aNumber, port, bNumber, b.bell))
  a.neighbours.set(bNumber, await neighbour)
}

async function begin({ gossip, x, neighbours }: Node): Promise<void> {
  for (const [id, frame] of await gossip.begin(x)) neighbours.get(id)!.send(frame)
}

async function end({ gossip, x, neighbours, bell }: Node, patienceMs = LONG_MS) {
  await hear(gossip, neighbours, bell, patienceMs)
  const { outcomes } = await gossip.apply(x)
  const left = leaveLost(gossip, neighbours).map(({ number, gone }) => [number, gone])
  return { outcomes: Object.fromEntries(outcomes), left }
}

/** Waits until so many frames have come and not been taken. */
async function arrived({ neighbours }: Node, from: number, frames: number): Promise<void> {
  const { inbox } = neighbours.get(from)!
  for (let turn = 0; turn < 500 && inbox.length < frames; turn++) await setTimeout(10)
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
  await connect(a, 0, c, 2)

  await Promise.all([begin(a), begin(b)])
  assert.equal(await end(a, SHORT_MS), { outcomes: { 1: 'exchanged', 2: 'missed' }, left: [] })
  await end(b)

  await begin(b)
  await arrived(a, 1, 1)
  const [early] = a.neighbours.get(1)!.inbox
  assert.is(a.gossip.receive(1, early!), 'early')
  await begin(c)
  await arrived(a, 2, 1) // the frame of an iteration that a has ended
  await begin(a)
  assert.equal(await end(a, SHORT_MS), { outcomes: { 1: 'exchanged', 2: 'missed' }, left: [] })
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
  await connect(a, 0, b, 1)
  const left: unknown[] = []
  for (let step = 0; step < 3; step++) {
    await begin(a)
    left.push((await end(a, SHORT_MS / 5)).left)
  }
  assert.equal(left, [[], [], [[1, 'missed 3 half-steps in a row']]])
  const end0 = b.neighbours.get(0)!
  for (let turn = 0; turn < 500 && end0.gone === null; turn++) await setTimeout(10)
  await begin(b)
  assert.equal((await end(b)).left, [[0, 'the connection has ended']])
})

test('who sends no frame is left, and only who is expected is let in', async () => {
  const a = await createNode(0, [1])
  const { port, neighbour } = await openDoor(1, a.bell)
  const stranger = new WebSocket(`ws://127.0.0.1:${port}/2`)
  const [code] = await once(stranger, 'close')
  assert.is(code, 1008)
  const expected = new WebSocket(`ws://127.0.0.1:${port}/1`)
  await once(expected, 'open')
  a.neighbours.set(1, await neighbour)
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
    const { frames, headers, sockets } = from.sent
    assert.is(frames, 1 + 125 + 126 + 65535 + 65536)
    assert.is(sockets, frames + headers)
  }
  close(a, b)
})

test.run()
