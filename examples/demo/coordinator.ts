// The coordinator starts the worker processes, sends each its share of the text, and in every round
// answers their frames with the mean. It knows nothing of the model or of the method.
//
// Here a lost worker ends the run. A coordinator that lets workers come back would keep a step's
// means until the next step's last mean exists, for the workers that ask for them.
import { randomUUID } from 'node:crypto'
import { aggregate, FrameError } from 'lowrank'
import { inspect } from 'lowrank/frames'
import type { WebSocket } from 'ws'
import { listen } from './listen.ts'
import { shapesOf } from './model.ts'
import { complain, endOf, type Started, start } from './processes.ts'
import {
  COORDINATOR,
  type Done,
  type FromWorker,
  type Loss,
  MAX_MESSAGE_BYTES,
  parseFromWorker,
  type ToWorker,
} from './protocol.ts'
import { createTally, distance, type Fleet, type Run, type Settings, type Tally } from './run.ts'
import type { Corpus } from './text.ts'

interface Worker extends Started {
  socket: WebSocket | undefined
}

/** Takes a worker's message. @throws Error  if the worker should not have sent it */
type Listener = (worker: number, message: Uint8Array | FromWorker) => void

/** Between runs. */
const nothing: Listener = () => {
  throw new Error('expected nothing now')
}

/**
 * Starts the workers and gives each its share of the text. Other processes that connect are ignored:
 * only the workers know the path, which begins with a random token.
 *
 * @param signal  ends all workers, whatever they do
 * @param reach  maps this process's port to the one that workers connect to, if something is
 *   between
 * @throws Error  if a worker is lost before it is ready, or sends what it should not
 */
export async function createFleet(
  corpus: Corpus,
  settings: Settings,
  signal: AbortSignal,
  reach = async (port: number): Promise<number> => port,
): Promise<Fleet> {
  const token = randomUUID()
  const workers: Worker[] = []
  let where = 'before training began'
  let listener = nothing
  let fail: (error: Error) => void
  const failed = new Promise<never>((_, reject) => {
    fail = reject
  })
  failed.catch(() => {}) // every phase races it, but none between two runs
  const abort = (): void => fail(signal.reason)
  signal.addEventListener('abort', abort)
  if (signal.aborted) abort()

  const { port, close } = await listen({
    maxPayload: MAX_MESSAGE_BYTES,
    admits: (url) => workers.some(({ socket }, i) => url === `/${token}/${i}` && !socket),
    admitted: (socket, { url }) => welcome(Number(url!.split('/').at(-1)), socket),
  })
  const kill = (): void => {
    for (const { process } of workers) process.kill('SIGKILL')
  }
  process.on('exit', kill)

  const fleet: Fleet = {
    get processes() {
      return workers.map(({ process }) => process.pid!)
    },
    train(compressed, watcher) {
      const kind = compressed ? 'compressed' : 'uncompressed'
      where = `in step 1 of the ${kind} run`
      const run = new Promise<Run>((resolve) => {
        const finish = (run: Run): void => {
          listener = nothing
          resolve(run)
        }
        const told = {
          ...watcher,
          step(step: number) {
            where = `in step ${Math.min(step + 1, settings.steps)} of the ${kind} run`
            watcher.step(step)
          },
        }
        const tally = createTally(settings.steps, told)
        listener = createListener(workers, tally, lengthOf(corpus), finish, refuse)
        for (const { socket } of workers) tell(socket!, { type: 'begin', compressed })
      })
      return Promise.race([failed, run])
    },
    async close() {
      kill()
      await Promise.all(workers.map(({ ended }) => ended))
      process.off('exit', kill)
      signal.removeEventListener('abort', abort)
      for (const { socket } of workers) socket?.terminate()
      await close()
    },
  }
  try {
    const url = `ws://127.0.0.1:${await reach(port)}/${token}`
    await Promise.race([failed, begin(url)])
  } catch (error) {
    await fleet.close()
    throw error
  }
  return fleet

  /** Starts the workers; resolves when all are ready. */
  function begin(url: string): Promise<void> {
    return new Promise((resolve) => {
      const ready = new Set<number>()
      listener = (number, message) => {
        if (message instanceof Uint8Array || !['ready', 'unable'].includes(message.type)) {
          throw new Error('expected "ready"')
        }
        if (message.type === 'unable') return fail(new Error(message.reason))
        if (ready.has(number)) throw new Error('expected nothing more before training')
        ready.add(number)
        if (ready.size < workers.length) return
        listener = nothing
        resolve()
      }
      for (let number = 0; number < settings.workers; number++) {
        // By the environment, for any user may read another's command lines.
        const started = start('worker.ts', { env: { [COORDINATOR]: `${url}/${number}` } })
        const worker = Object.assign(started, { socket: undefined })
        workers.push(worker)
        started.process.on('error', fail)
        started.process.on('close', (code, killer) => {
          const end = `${endOf(code, killer)}${worker.complaint}`
          fail(new Error(`worker ${number} was lost ${where}: ${end}`))
        })
      }
    })
  }

  /** Ends everything, because of what a worker has sent; null: of what all have sent together. */
  function refuse(number: number | null, { message }: Error): void {
    const who =
      number === null ? 'the workers’ frames have no mean' : `worker ${number} sent a bad message`
    fail(new Error(`${who} ${where}: ${message}`))
  }

  /** Listens to a worker that has connected, and gives it its task. */
  function welcome(number: number, socket: WebSocket): void {
    const worker = workers[number]!
    worker.socket = socket
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code?.startsWith('WS_ERR')) refuse(number, error)
      else complain(worker, error.message) // its process ends next
    })
    socket.on('message', (data: Buffer, isBinary) => {
      try {
        listener(number, isBinary ? data : parseFromWorker(data.toString()))
      } catch (error) {
        refuse(number, error as Error)
      }
    })
    tell(socket, { type: 'task', worker: number, symbols: corpus.symbols, ...settings })
    socket.send(corpus.shares[number]!)
    socket.send(corpus.heldOut)
  }
}

/** Bytes of all parameters. */
function lengthOf({ symbols }: Corpus): number {
  const sizes = shapesOf(symbols).map((shape) => shape.reduce((a, b) => a * b))
  return 4 * sizes.reduce((a, b) => a + b)
}

/**
 * Handles the messages of one run.
 *
 * @param length  bytes of all parameters
 * @param refuse  takes the worker that has sent a frame without a mean; null: frames are unlike
 */
function createListener(
  workers: readonly Worker[],
  tally: Tally,
  length: number,
  finish: (run: Run) => void,
  refuse: (worker: number | null, error: Error) => void,
): Listener {
  // Each by worker, as far as they have come.
  let losses = new Map<number, Loss>()
  const done = new Map<number, Done>()
  const parameters = new Map<number, Float32Array>()
  let frames = new Map<number, Uint8Array>()
  const all = ({ size }: ReadonlyMap<number, unknown>) => size === workers.length

  return (worker, message) => {
    if (message instanceof Uint8Array) {
      if (done.has(worker)) end(worker, message)
      else collect(worker, message)
    } else if (message.type === 'loss') measure(worker, message)
    else if (message.type === 'done') put(done, worker, message, 'end')
    else throw new Error(`expected a frame, got "${message.type}"`)
  }

  /**
   * Answers with the mean once a round's last frame has come. It counts frames, not senders: a
   * worker may abstain. `createAggregate` would add frames in the order in which they come;
   * `aggregate` does not, so that a seed repeats a run to the last bit, whoever is faster.
   */
  function collect(worker: number, frame: Uint8Array): void {
    const { senders } = inspect(frame)
    if (senders.some((sender) => sender !== worker)) {
      throw new Error(`expected its own frame, got one of sender ${senders}`)
    }
    put(frames, worker, frame, 'frame in this round')
    if (!all(frames)) return
    const resumed = performance.now()
    const mean = meanOf(frames)
    if (!mean) return
    const aggregationMs = performance.now() - resumed
    for (const { socket } of workers) socket!.send(mean)
    const sent = [...frames.values()].reduce((sum, { length }) => sum + length, 0)
    frames = new Map()
    tally.exchanged(inspect(mean).step, sent / workers.length, mean.length, aggregationMs)
  }

  function meanOf(frames: ReadonlyMap<number, Uint8Array>): Uint8Array | null {
    try {
      return aggregate([...frames.values()])
    } catch (error) {
      const bad = [...frames].find(([, frame]) => !hasMean(frame))
      refuse(bad ? bad[0] : null, error as Error)
      return null
    }
  }

  function measure(worker: number, loss: Loss): void {
    put(losses, worker, loss, 'loss in this step')
    if (!all(losses)) return
    tally.measured(inOrder(losses))
    losses = new Map()
  }

  function end(worker: number, bytes: Uint8Array): void {
    if (bytes.length !== length) {
      throw new Error(`expected parameters, ${length} bytes, got ${bytes.length}`)
    }
    put(parameters, worker, new Float32Array(new Uint8Array(bytes).buffer), 'set of parameters')
    if (!all(parameters)) return
    const [first, ...others] = inOrder(parameters)
    const apart = [first!, ...others].map((values) => distance(values, first!))
    finish(tally.finish(inOrder(done), apart))
  }
}

function hasMean(frame: Uint8Array): boolean {
  try {
    aggregate([frame])
    return true
  } catch (error) {
    if (!(error instanceof FrameError)) throw error
    return false
  }
}

/** @throws Error  if the worker has one already */
function put<T>(all: Map<number, T>, worker: number, one: T, what: string): void {
  if (all.has(worker)) throw new Error(`expected no second ${what}`)
  all.set(worker, one)
}

/** In the order of the workers. */
function inOrder<T>(all: ReadonlyMap<number, T>): T[] {
  return [...all].sort(([a], [b]) => a - b).map(([, one]) => one)
}

function tell(socket: WebSocket, message: ToWorker): void {
  socket.send(JSON.stringify(message))
}
