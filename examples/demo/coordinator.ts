// The coordinator starts the worker processes, sends each its share of the text, and in every round
// answers their frames with the mean. It knows nothing of the model or of the method.
//
// Here a lost worker ends the run. A coordinator that lets workers come back would keep a step's
// means until the next step's last mean exists, for the workers that ask for them.
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { aggregate } from 'lowrank'
import { inspect } from 'lowrank/frames'
import { type WebSocket, WebSocketServer } from 'ws'
import { complain, endOf, type Started, start } from './processes.ts'
import {
  type Done,
  type FromWorker,
  type Loss,
  MAX_MESSAGE_BYTES,
  type ToWorker,
} from './protocol.ts'
import { createTally, distance, type Fleet, type Run, type Settings, type Watcher } from './run.ts'
import type { Corpus } from './text.ts'

interface Worker extends Started {
  socket: WebSocket | undefined
}

type Listener = (worker: number, message: Uint8Array | FromWorker) => void

/**
 * Starts the workers and gives each its share of the text.
 *
 * @param signal  ends all workers, whatever they do
 * @param reach  maps this process's port to the one that workers connect to, if something is
 *   between
 * @throws Error  if a worker is lost before it is ready
 */
export async function createFleet(
  corpus: Corpus,
  settings: Settings,
  signal: AbortSignal,
  reach = async (port: number): Promise<number> => port,
): Promise<Fleet> {
  const server = new WebSocketServer({
    host: '127.0.0.1',
    port: 0,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
  })
  await once(server, 'listening')
  const url = `ws://127.0.0.1:${await reach((server.address() as AddressInfo).port)}`

  const workers: Worker[] = Array.from({ length: settings.workers }, (_, worker) =>
    Object.assign(start('worker.ts', [url, `${worker}`], false), { socket: undefined }),
  )
  const kill = (): void => {
    for (const { process } of workers) process.kill('SIGKILL')
  }
  process.on('exit', kill)
  let where = 'before training began'
  let listener: Listener = () => {}
  const lost = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => reject(signal.reason))
    for (const [number, worker] of workers.entries()) {
      worker.process.on('error', reject)
      worker.process.on('close', (code, killer) => {
        const end = `${endOf(code, killer)}${worker.complaint}`
        reject(new Error(`worker ${number} was lost ${where}: ${end}`))
      })
    }
    server.on('connection', (socket) => {
      let number = -1
      socket.on('message', (data: Buffer, isBinary) => {
        try {
          const message = isBinary ? data : (JSON.parse(data.toString()) as FromWorker)
          if (!(message instanceof Uint8Array) && message.type === 'hello') {
            number = message.worker
            const worker = workers[number]!
            worker.socket = socket
            socket.on('error', ({ message }) => complain(worker, message)) // its process ends next
          }
          listener(number, message)
        } catch (error) {
          reject(error)
        }
      })
    })
  })
  lost.catch(() => {}) // every phase races it, but none between two runs

  const fleet: Fleet = {
    processes: workers.map(({ process }) => process.pid!),
    train(compressed, watcher) {
      const kind = compressed ? 'compressed' : 'uncompressed'
      where = `in step 1 of the ${kind} run`
      const run = new Promise<Run>((resolve) => {
        listener = createListener(workers, settings.steps, resolve, {
          ...watcher,
          step(step) {
            where = `in step ${Math.min(step + 1, settings.steps)} of the ${kind} run`
            watcher.step(step)
          },
        })
        for (const { socket } of workers) tell(socket!, { type: 'begin', compressed })
      })
      return Promise.race([lost, run])
    },
    async close() {
      kill()
      await Promise.all(workers.map(({ ended }) => ended))
      process.off('exit', kill)
      server.close()
    },
  }
  try {
    await Promise.race([lost, welcome()])
  } catch (error) {
    await fleet.close()
    throw error
  }
  return fleet

  /** Answers each worker's hello with its task; resolves when all are ready. */
  function welcome(): Promise<void> {
    return new Promise((resolve, reject) => {
      let ready = 0
      listener = (worker, message) => {
        if (message instanceof Uint8Array) return
        if (message.type === 'unable') reject(new Error(message.reason))
        if (message.type === 'ready') ready++
        if (ready === workers.length) resolve()
        if (message.type !== 'hello') return
        const socket = workers[worker]!.socket!
        tell(socket, { type: 'task', worker, symbols: corpus.symbols, ...settings })
        socket.send(corpus.shares[worker]!)
        socket.send(corpus.heldOut)
      }
    })
  }
}

/** Handles the messages of one run. */
function createListener(
  workers: readonly Worker[],
  steps: number,
  finish: (run: Run) => void,
  watcher: Watcher,
): Listener {
  const tally = createTally(steps, watcher)
  let losses: Loss[] = []
  const done: Done[] = []
  const parameters: Float32Array[] = []
  let frames: Uint8Array[] = []

  return (worker, message) => {
    if (message instanceof Uint8Array) {
      if (done[worker]) end(worker, message)
      else collect(message)
    } else if (message.type === 'loss') measure(message)
    else if (message.type === 'done') done[worker] = message
  }

  /**
   * Answers with the mean once a round's last frame has come. It counts frames, not senders: a
   * worker may abstain. `createAggregate` would add frames in the order in which they come;
   * `aggregate` does not, so that a seed repeats a run to the last bit, whoever is faster.
   */
  function collect(frame: Uint8Array): void {
    frames.push(frame)
    if (frames.length < workers.length) return
    const resumed = performance.now()
    const mean = aggregate(frames)
    const aggregationMs = performance.now() - resumed
    for (const { socket } of workers) socket!.send(mean)
    const sentBytes = frames.reduce((sum, { length }) => sum + length, 0) / workers.length
    frames = []
    tally.exchanged(inspect(mean).step, sentBytes, mean.length, aggregationMs)
  }

  function measure(loss: Loss): void {
    losses.push(loss)
    if (losses.length < workers.length) return
    tally.measured(losses)
    losses = []
  }

  function end(worker: number, bytes: Uint8Array): void {
    parameters[worker] = new Float32Array(new Uint8Array(bytes).buffer)
    if (Object.keys(parameters).length < workers.length) return
    const apart = parameters.map((values) => distance(values, parameters[0]!))
    finish(tally.finish(done, apart))
  }
}

function tell(socket: WebSocket, message: ToWorker): void {
  socket.send(JSON.stringify(message))
}
