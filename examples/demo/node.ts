// One node of a ring, in a process of its own: it accepts the next node's connection, connects to
// the previous node, and trains. It ends when its launcher does.
import { createHash } from 'node:crypto'
import { on } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { createGossip, plain, powerGossip } from 'lowrank/gossip'
import { ring } from 'lowrank/topology'
import { hear, leaveLost, type Neighbours } from './halfsteps.ts'
import { descend, USUAL, warmthAt } from './learning-rate.ts'
import { heldOutLoss } from './measuring.ts'
import { BATCH, batchAt, CONTEXT, createModel, drawPositions, type Model } from './model.ts'
import { Bell, openDoor, visit } from './neighbours.ts'
import { probes } from './protocol.ts'
import type { Connect, FromNode, Prepare, RingTask, Sent, ToNode } from './ringprotocol.ts'

/**
 * Steps in which the learning rate rises: three times as many as in a star. With 20 steps, plain
 * gossip's loss first rises far above its start and PowerGossip's does not, so that the comparison
 * would flatter PowerGossip.
 */
const WARM_UP = 60

process.on('disconnect', () => process.exit(0))
const inbox = on(process, 'message')

const { task, share, heldOut } = (await next('prepare')) as Prepare
const { worker, workers, steps } = task
const bell = new Bell()
const after = (worker + 1) % workers
const before = (worker - 1 + workers) % workers
const door = await openDoor(after, task.token, bell)
const model = await createModel(task.symbols)
await model.gradients(await model.start(task.seed), batchAt(share, Array(BATCH).fill(CONTEXT))) // compiles
tell({ type: 'listening', port: door.port })
const { port } = (await next('connect')) as Connect
const ends = await Promise.all([visit(before, port, worker, task.token, bell), door.neighbour])
tell({ type: 'connected' })
await next('begin')
await train(model, new Map(ends.map((end) => [end.number, end])))

/**
 * D-PSGD (Lian et al., "Can Decentralized Algorithms Outperform Centralized Algorithms?", 2017).
 * The node computes the gradient of the same parameters whose frames travel meanwhile:
 *
 *   x ← gossip(x) − learningRate · (g + m)        m ← momentum · m + g, which stays with this node
 */
async function train(model: Model, neighbours: Neighbours): Promise<void> {
  const gossip = await createGossip(model.shapes, {
    self: worker,
    neighbours: ring(workers)[worker]!.neighbours,
    seed: task.seed,
    ...exchanged(task),
  })
  const x = await model.start(task.seed)
  const momenta = x.map(({ length }) => new Float32Array(length))
  const positions = await drawPositions(share, steps, task.seed, worker)
  const measured = probes(steps)
  const used = process.cpuUsage()
  let missed = 0
  for (let step = 0; step < steps; step++) {
    await setImmediate() // lets the event loop turn: a node without neighbours awaits nothing else
    let frames: ReadonlyMap<number, Uint8Array> | null = await gossip.begin(x)
    for (const [id, frame] of frames) neighbours.get(id)!.send(frame)
    const batch = batchAt(share, positions.subarray(step * BATCH, (step + 1) * BATCH))
    const gradients = await model.gradients(x, batch)
    while (frames) {
      await hear(gossip, neighbours, bell)
      const applied = await gossip.apply(x)
      missed += [...applied.outcomes.values()].filter((outcome) => outcome === 'missed').length
      frames = applied.frames
      for (const [id, frame] of frames ?? []) neighbours.get(id)!.send(frame)
    }
    for (const { number, gone } of leaveLost(gossip, neighbours)) {
      tell({ type: 'left', departure: { step: step + 1, neighbour: number, why: gone! } })
    }
    descend(x, gradients, momenta, USUAL.learningRate * warmthAt(step, steps, WARM_UP))
    tell({ type: 'stepped', step: step + 1 })
    if (!measured.has(step + 1)) continue
    tell({ type: 'snapshot', step: step + 1, parameters: x, sent: sent() })
  }
  const { user, system } = process.cpuUsage(used)
  const hash = createHash('sha256')
  for (const array of x) hash.update(array)
  const { sum, characters } = await heldOutLoss(model, x, heldOut, { steps })
  const trained = {
    parameters: hash.digest('hex'),
    loss: sum / characters,
    sent: sent(),
    missed,
    cpuMs: (user + system) / 1000,
  }
  tell({ type: 'finished', trained })
}

function exchanged({ gossip, rank, iterations, wire }: RingTask) {
  if (gossip === 'plain') return { method: plain() }
  return { method: powerGossip({ rank, iterations }), wire }
}

/** Adds up both connections, also one to a neighbour that this node has left. */
function sent(): Sent {
  const total = (key: keyof Sent) => ends.reduce((sum, end) => sum + end.sent[key], 0)
  return { frames: total('frames'), headers: total('headers'), sockets: total('sockets') }
}

function tell(message: FromNode): void {
  process.send!(message)
}

async function next(type: ToNode['type']): Promise<ToNode> {
  const [message] = (await inbox.next()).value
  if (message.type !== type) throw new Error(`expected "${type}", got ${message.type}`)
  return message
}
