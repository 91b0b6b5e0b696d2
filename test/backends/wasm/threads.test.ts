// Several threads: the same bits, clean ends, and clear refusals.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type * as workers from 'node:worker_threads'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { loadBinaries } from '../../../src/backends/wasm/load.ts'
import { shareable } from '../../../src/backends/wasm/shareable.ts'
import { sharedModuleFor, ThreadPool } from '../../../src/backends/wasm/threads.ts'
import {
  aggregate,
  type Compressor,
  createCompressor,
  type Options,
  UnsupportedError,
  wasm as wasmAlone,
} from '../../../src/index.ts'
import { wasm } from '../../../src/threads.ts'
import { sameBytes } from '../../support/close.ts'
import { errorOf } from '../../support/errors.ts'
import { GOLDEN, goldenRun } from '../../support/golden.ts'
import { uniform } from '../../support/numbers.ts'
import { type Arrays, sameTrace, traceOf } from '../../support/session-trace.ts'

const test = suite('threads')

const root = fileURLToPath(new URL('../../..', import.meta.url))
const run = promisify(execFile)

/** Runs `work` while this thread gets no unit, so that others must do all units. */
async function byOthers<T>(work: () => Promise<T>): Promise<T> {
  const { compareExchange } = Atomics
  Atomics.compareExchange = () => -1 as never
  try {
    return await work()
  } finally {
    Atomics.compareExchange = compareExchange
  }
}

const KINDS: Options[] = [
  { wire: 'f32' },
  { wire: 'int8', iterations: 2 },
  { errorFeedback: 'aggregated' },
]

for (const shared of KINDS) {
  test(`the same bits for any number: ${JSON.stringify(shared)}`, async () => {
    const want = await traceOf({}, 'foreign', shared)
    for (const [threads, arrays] of [
      [1, 'resident'],
      [2, 'resident'],
      [2, 'foreign'],
      [3, 'mixed'],
      [4, 'resident'],
      [4, 'foreign'],
    ] satisfies [number, Arrays][]) {
      const got = await traceOf({ backend: wasm({ threads }) }, arrays, shared)
      sameTrace(got, want, `${threads} threads, ${arrays}`)
    }
    for (const arrays of ['resident', 'foreign'] satisfies Arrays[]) {
      const got = await byOthers(() => traceOf({ backend: wasm({ threads: 2 }) }, arrays, shared))
      sameTrace(got, want, `the other thread, ${arrays}`)
    }
  })
}

test('golden: fifty steps of three workers, small enough for one thread', async () => {
  for (const threads of [2, 4]) {
    const lowrank = { createCompressor, aggregate, wasm: (o: object) => wasm({ ...o, threads }) }
    assert.is(await goldenRun(lowrank), GOLDEN.run)
  }
})

/** A matrix that is worth sharing among threads. */
const LARGE = [[400, 500]]
const gradientOf = (seed: number) => [uniform(200_000, seed)]

async function frameOf(worker: Compressor, seed: number): Promise<Uint8Array> {
  const first = await worker.compress(gradientOf(seed))
  worker.abort()
  return first
}

test('a backend serves several compressors, one after another and at the same time', async () => {
  const backend = wasm({ threads: 3 })
  const want = await Promise.all(
    [1, 2, 3].map(async (seed) => frameOf(await createCompressor(LARGE), seed)),
  )
  const [a, b] = await Promise.all([0, 1].map(() => createCompressor(LARGE, { backend })))
  sameBytes(await frameOf(a!, 1), want[0]!, 'the first')
  sameBytes(await frameOf(b!, 2), want[1]!, 'the second')
  a!.dispose()
  const c = await createCompressor(LARGE, { backend })
  const [again, third] = await byOthers(async () => [
    await frameOf(await createCompressor(LARGE, { backend }), 2),
    await frameOf(c, 3),
  ])
  sameBytes(again, want[1]!, 'the fourth')
  sameBytes(third, want[2]!, 'the third')
})

/** Runs a script on the built package in a process of its own; returns its output. */
async function child(script: string, status = 0): Promise<string> {
  const source = `import { createCompressor } from 'lowrank'
    import { wasm } from 'lowrank/threads'
    const backend = wasm({ threads: 3 })
    const worker = await createCompressor([[400, 500]], { backend, resident: true })
    worker.compressSync(worker.gradients)
    ${script}`
  const args = ['--input-type=module', '-e', source]
  // Without a limit: run.ts ends a process that does not end by itself.
  const result = await run(process.execPath, args, { cwd: root }).catch(
    (error: { code?: number; stdout: string }) => error,
  )
  assert.is('code' in result ? result.code : 0, status)
  return result.stdout
}

test('a process ends by itself, whether compressors were disposed of or not', async () => {
  await child('worker.abort()')
  await child('worker.dispose()')
})

test('a process ends when its own thread does, in the middle of a step', async () => {
  await child('process.exit(3)', 3)
  await child(`setImmediate(() => { throw new Error('over') })`, 1)
})

test('the last dispose ends the threads; the next compressor starts others', async () => {
  const printed = await child(`
    const { readdirSync } = await import('node:fs')
    const count = () => readdirSync('/proc/self/task').length
    const settled = async (n) => {
      while (count() !== n) await new Promise((resolve) => setTimeout(resolve, 20))
    }
    const two = count()
    const other = await createCompressor([[400, 500]], { backend })
    if (count() !== two) throw new Error('threads are not shared')
    other.dispose()
    await new Promise((resolve) => setTimeout(resolve, 50))
    if (count() !== two) throw new Error('ended too early')
    worker.dispose()
    await settled(two - 2)
    const next = await createCompressor([[400, 500]], { backend })
    await settled(two)
    next.compressSync([new Float32Array(200000)])
    console.log('done')`)
  assert.is(printed, 'done\n')
})

test('a compressor may live in a worker, which may be ended', async () => {
  const printed = await child(`
    worker.dispose()
    const { Worker } = await import('node:worker_threads')
    const inner = new Worker(\`
      import('lowrank').then(async ({ createCompressor }) => {
        const { wasm } = await import('lowrank/threads')
        const own = await createCompressor([[400, 500]], { backend: wasm({ threads: 2 }) })
        const { parentPort } = await import('node:worker_threads')
        parentPort.postMessage(own.compressSync([new Float32Array(200000)]).length)
        setInterval(() => {}, 1000)
      })\`, { eval: true })
    const [length] = await new Promise((resolve) => inner.once('message', (...m) => resolve(m)))
    await inner.terminate()
    console.log(length > 0)`)
  assert.is(printed, 'true\n')
})

/** Runs `work` with another `process.getBuiltinModule`. */
async function withModules<T>(get: (name: string) => unknown, work: () => Promise<T>): Promise<T> {
  const { getBuiltinModule } = process
  process.getBuiltinModule = get as never
  try {
    return await work()
  } finally {
    process.getBuiltinModule = getBuiltinModule
  }
}

test('a thread that cannot be started is an error, and not the end', async () => {
  const backend = wasm({ threads: 2 })
  const make = () => createCompressor(LARGE, { backend })
  const real = process.getBuiltinModule('node:worker_threads') as typeof workers
  class Broken extends real.Worker {
    constructor(_: string, options: workers.WorkerOptions) {
      super('throw new Error("no room")', options)
    }
  }
  const broken = await withModules(
    () => ({ Worker: Broken }),
    () => errorOf(make),
  )
  assert.instance(broken, UnsupportedError)
  assert.is(broken.message, '"threads": a worker could not be started: Error: no room')
  const none = await withModules(
    () => undefined,
    () => errorOf(make),
  )
  assert.is(none.message, '"threads": this host has no workers')
  // The second of two threads fails to start: the first one must end.
  let started = 0
  let terminated = 0
  class One extends real.Worker {
    constructor(source: string, options: workers.WorkerOptions) {
      if (started++ > 0) throw new Error('no room for another')
      super(source, options)
    }
    override terminate() {
      terminated++
      return super.terminate()
    }
  }
  const second = await withModules(
    () => ({ Worker: One }),
    () => errorOf(() => createCompressor(LARGE, { backend: wasm({ threads: 3 }) })),
  )
  assert.is(second.message, 'no room for another')
  assert.is(terminated, 1)
  using worker = await make()
  assert.is(worker.stats.step, 0)
})

test('no shared memory, no threads: never silently one', async () => {
  const { SharedArrayBuffer: real } = globalThis
  Reflect.deleteProperty(globalThis, 'SharedArrayBuffer')
  try {
    const error = await errorOf(() => createCompressor(LARGE, { backend: wasm({ threads: 2 }) }))
    assert.instance(error, UnsupportedError)
    assert.match(
      error.message,
      /^"threads": memory is not shared here: .*Cross-Origin-Opener-Policy/,
    )
    using singleThread = await createCompressor(LARGE, { backend: wasm({ threads: 1 }) })
    assert.is(singleThread.stats.step, 0)
  } finally {
    globalThis.SharedArrayBuffer = real
  }
})

test('numbers that are none are refused, and threads by the door that has none', () => {
  assert.throws(
    () => wasmAlone({ threads: 2 } as object),
    (error: Error) => error instanceof TypeError && /lowrank\/threads/.test(error.message),
  )
  for (const threads of [0, -1, 1.5, 65, Number.NaN, '2', null]) {
    const type = typeof threads === 'number' ? RangeError : TypeError
    assert.throws(
      () => wasm({ threads: threads as number }),
      (error: Error) =>
        error instanceof type &&
        /^"threads": expected (an integer from 1 to 64|a number), got/.test(error.message),
    )
  }
})

test('a model that does not fit is refused, and leaves no thread behind', async () => {
  const printed = await child(`
    worker.dispose()
    const error = await createCompressor([[40000, 40000]], { backend }).catch((error) => error)
    console.log(error.name, error.message)`)
  assert.match(printed, /^RangeError "shapes": .*4 GiB/)
})

test('a failure in a phase, here or there, is reported, and no thread is left waiting', async () => {
  let ended = 0
  const pool = new ThreadPool(2, () => ended++)
  const executor = await pool.addSession(await sharedModuleFor(false))
  executor.memory.grow(1)
  const table = executor.kernels.heapBase.value
  const good = { units: [{ table, blocks: 1 }], floats: 1e6 } // a block of zeros: no work
  const bad = { units: [{ table: 2 ** 20, blocks: 1 }], floats: 1e6 } // beyond the memory
  const noRoom = () => {
    throw new Error('no room')
  }
  for (const own of [{ fill: noRoom }, { meanwhile: noRoom }]) {
    assert.throws(() => executor.run('project', [0, 0, 0], [], good, own), /^no room$/)
    assert.equal(executor.run('project', [0, 0, 0], [], good), [0])
  }
  const others = byOthers(async () => executor.run('project', [0, 0, 0], [], bad))
  assert.is((await errorOf(() => others)).message, 'a kernel has failed on another thread')
  // That thread is gone: this one does the rest of the work.
  assert.equal(executor.run('project', [0, 0, 0], [], good), [0])
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.instance(
    await errorOf(async () => pool.addSession(await sharedModuleFor(false))),
    UnsupportedError,
  )
  executor.release()
  executor.release()
  assert.is(ended, 1)
})

test('a module becomes shareable once, and only if it is like ours', async () => {
  const { plain, relaxed } = await loadBinaries()
  for (const bytes of [plain, relaxed]) {
    assert.throws(() => shareable(shareable(bytes)), /does not import one memory/)
  }
  assert.is(shareable(plain).length, plain.length + 3)
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true })
  const module = await WebAssembly.compile(shareable(plain))
  assert.ok(new WebAssembly.Instance(module, { env: { memory } }))
  assert.throws(() => shareable(plain.subarray(0, 8)), /does not import one memory/)
  assert.throws(() => shareable(plain.subarray(0, 12)), /does not import one memory/)
})

test.run()
