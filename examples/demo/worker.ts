// One worker process: it trains on its own share of the text, and exchanges frames with the
// coordinator. It ends when its connection does, so that no worker outlives the coordinator.
import { on } from 'node:events'
import { UnsupportedError } from 'lowrank'
import { WebSocket } from 'ws'
import {
  COORDINATOR,
  type FromWorker,
  MAX_MESSAGE_BYTES,
  type Task,
  type ToWorker,
} from './protocol.ts'
import { createTrainer } from './training.ts'

const socket = new WebSocket(process.env[COORDINATOR]!, {
  perMessageDeflate: false, // floats do not deflate
  maxPayload: MAX_MESSAGE_BYTES,
  generateMask() {}, // no proxy to confuse on loopback: a mask of zeros saves two passes over each byte
})
socket.on('error', (error) => {
  process.stderr.write(`${error.message}\n`) // the coordinator shows it, if it is still there
  process.exit(1)
})
socket.on('close', () => process.exit(0))
const inbox = on(socket, 'message')

const task = (await hear('task')) as Task
const trainer = await createTrainer(task, await hearBytes(), await hearBytes()).catch((error) => {
  if (!(error instanceof UnsupportedError)) throw error
  tell({ type: 'unable', reason: error.message })
  return new Promise<never>(() => {}) // the coordinator ends it
})
tell({ type: 'ready' })
for (;;) {
  const { compressed } = (await hear('begin')) as Extract<ToWorker, { type: 'begin' }>
  const { done, parameters } = await trainer.train(compressed, { exchange, measured: tell })
  tell(done)
  socket.send(parameters)
}

function exchange(frame: Uint8Array): Promise<Uint8Array> {
  socket.send(frame)
  return hearBytes()
}

function tell(message: FromWorker): void {
  socket.send(JSON.stringify(message))
}

async function hear(type: ToWorker['type']): Promise<ToWorker> {
  const [data, isBinary] = await next()
  const message = isBinary ? { type: 'a frame' } : JSON.parse(data.toString())
  if (message.type !== type) throw new Error(`expected "${type}", got ${message.type}`)
  return message
}

async function hearBytes(): Promise<Uint8Array> {
  const [data, isBinary] = await next()
  if (!isBinary) throw new Error(`expected a frame, got ${data.toString()}`)
  return data
}

async function next(): Promise<[data: Buffer, isBinary: boolean]> {
  return (await inbox.next()).value
}
