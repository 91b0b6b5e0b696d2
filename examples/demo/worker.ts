// One worker process: it trains the model on its own share of the text, and exchanges frames with
// the coordinator. It ends when its connection does, so none outlives a coordinator.
import { createHash } from 'node:crypto'
import { on, once } from 'node:events'
import { createCompressor, createSgd } from 'lowrank'
import { WebSocket } from 'ws'
import { BATCH, batchAt, CONTEXT, createModel, drawPositions, type Model } from './model.ts'
import {
  compression,
  type FromWorker,
  MAX_MESSAGE_BYTES,
  PROBE,
  probes,
  type Task,
  type ToWorker,
} from './protocol.ts'

const LEARNING_RATE = 0.07
const MOMENTUM = 0.9
const WARM_UP = 20 // steps

const [url, number] = process.argv.slice(2)
const socket = new WebSocket(url!, {
  perMessageDeflate: false, // floats do not deflate
  maxPayload: MAX_MESSAGE_BYTES,
  generateMask() {}, // no proxy to confuse on loopback: a mask of zeros saves two passes over each byte
})
socket.on('close', () => process.exit(0))
const inbox = on(socket, 'message')
await once(socket, 'open')
tell({ type: 'hello', worker: Number(number) })

const task = (await hear('task')) as Task
const share = await hearBytes()
const heldOut = await hearBytes()
const model = await createModel(task.symbols)
await model.gradients(await model.start(task.seed), batchAt(share, warmUpPositions())) // compiles
tell({ type: 'ready' })
for (;;) {
  const { compressed } = (await hear('begin')) as Extract<ToWorker, { type: 'begin' }>
  await train(model, compressed)
}

/** Trains once from the start; what it found goes to the coordinator. */
async function train(model: Model, compressed: boolean): Promise<void> {
  const { shapes, options } = compression(task, compressed)
  const parameters = await model.start(task.seed)
  const compressor = await createCompressor(shapes, { ...options, sender: task.worker })
  const sgd = await createSgd(compressor, { learningRate: LEARNING_RATE, momentum: MOMENTUM })
  const positions = await drawPositions(share, task.steps, task.seed, task.worker)
  const measured = probes(task.steps)
  let compressionMs = 0
  let gradientMs = 0
  for (let step = 0; step < task.steps; step++) {
    const begun = performance.now()
    const batch = batchAt(share, positions.subarray(step * BATCH, (step + 1) * BATCH))
    const gradients = await model.gradients(parameters, batch)
    gradientMs += performance.now() - begun

    let resumed = performance.now() // a clock that stands still while others are waited for
    await compressor.step(gradients, async (frame) => {
      compressionMs += performance.now() - resumed
      socket.send(frame)
      const mean = await hearBytes()
      resumed = performance.now()
      return mean
    })
    compressionMs += performance.now() - resumed

    sgd.learningRate = learningRate(step)
    sgd.apply(parameters, gradients) // they hold the update now
    if (measured.has(step + 1)) await measure(model, parameters, step + 1)
  }
  compressor.dispose()
  const hash = createHash('sha256')
  for (const values of parameters) hash.update(values)
  tell({ type: 'done', parameters: hash.digest('hex'), compressionMs, gradientMs })
}

/** Rises at first, then falls to zero along a cosine. */
function learningRate(step: number): number {
  const fallen = (1 + Math.cos((Math.PI * step) / task.steps)) / 2
  return LEARNING_RATE * Math.min(1, (step + 1) / WARM_UP) * fallen
}

/** The loss on every `workers`-th batch of the probe, whose characters lie evenly in the held-out part. */
async function measure(model: Model, parameters: Float32Array[], step: number): Promise<void> {
  const stride = (heldOut.length - CONTEXT) / (PROBE * BATCH)
  let sum = 0
  let characters = 0
  for (let batch = task.worker; batch < PROBE; batch += task.workers) {
    const positions = Array.from(
      { length: BATCH },
      (_, i) => CONTEXT + Math.floor((batch * BATCH + i) * stride),
    )
    sum += BATCH * (await model.loss(parameters, batchAt(heldOut, positions)))
    characters += BATCH
  }
  if (!Number.isFinite(sum)) throw new Error(`training diverged: the held-out loss is ${sum}`)
  tell({ type: 'loss', step, sum, characters })
}

function warmUpPositions(): number[] {
  return Array<number>(BATCH).fill(CONTEXT)
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
