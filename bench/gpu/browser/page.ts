// The program in the browser: it opens libraries once, and times the products that `main.ts`
// requests.
import { createWasmKernels } from 'lowrank/kernels'
import { byEffort, type Settings } from '../../effort.ts'
import { statistics } from '../../measure.ts'
import type { Factor, Operation } from '../../peers/peer.ts'
import type { Row } from '../../results.ts'
import { Clock } from '../clock.ts'
import { type Adapter, type Opened, openDevice } from '../device.ts'
import { collect } from '../samples.ts'
import { checksOf, transpose } from './check.ts'
import { jax } from './jax.ts'
import type { Library, Operands, Product } from './library.ts'
import { lowrank } from './lowrank.ts'
import { tfjs } from './tfjs.ts'

/** The products to time. */
export interface Request {
  /** name of an opened library */
  readonly library: string
  readonly rows: number
  readonly cols: number
  readonly rank: number
  readonly settings: Settings
}

/**
 * The kind of time: `wall` is the wall's clock over a long row of products; `GPU` is time on the
 * GPU.
 */
export type Kind = 'wall' | 'GPU'

/** The time of one operation by one library, in the fastest of its ways. */
export interface Timed {
  readonly operation: Operation
  readonly kind: Kind
  readonly row: Pick<Row, 'ms' | 'spread' | 'samples'> & { readonly note?: string }
}

/** The most products in a row: a library may record all of them before it submits any. */
const MOST = 1024

const opened = new Map<string, { library: Library; clock: Clock }>()
let own: Opened | undefined

const page = {
  /**
   * Opens the package on a device of its own.
   *
   * @returns the device's adapter, or why there is none
   */
  async start(): Promise<{ adapter: Adapter; timestamps: boolean } | string> {
    if (!navigator.gpu) return 'this browser has no WebGPU'
    try {
      own = await openDevice(navigator.gpu)
    } catch (error) {
      return messageOf(error)
    }
    const clock = new Clock(own.device)
    opened.set('lowrank', { library: await lowrank(own.device), clock })
    return { adapter: own.adapter, timestamps: clock.timestamps }
  },

  /**
   * Opens another library, on a device that it chooses.
   *
   * @returns why it does not run here, or null
   */
  async open(name: 'tfjs-webgpu' | 'jax-js'): Promise<string | null> {
    try {
      const library = await { 'tfjs-webgpu': tfjs, 'jax-js': jax }[name]()
      opened.set(name, { library, clock: new Clock(library.device) })
      return null
    } catch (error) {
      return messageOf(error)
    }
  },

  /** Checks all products of one library, then times them. */
  async measure({ library: name, settings, ...dims }: Request): Promise<Timed[]> {
    const { library, clock } = opened.get(name)!
    const operands = await operandsOf(dims)
    const checks = checksOf(operands)
    const prepared = await library.prepare(operands)
    try {
      const timed: Timed[] = []
      for (const operation of Object.keys(checks) as Operation[]) {
        const ways = prepared.products[operation]
        for (const { read, byColumn, note = '' } of ways) {
          checks[operation](
            `${name}: ${operation}, r = ${dims.rank} ${note}`,
            await read(),
            byColumn,
          )
        }
        for (const [kind, time] of [
          ['wall', wall],
          ['GPU', gpu],
        ] as const) {
          if (kind === 'GPU' && !clock.timestamps) continue
          const rows: Timed['row'][] = []
          for (const way of ways) {
            const samples = await time(clock, way, settings)
            rows.push({ ...statistics(samples), ...(way.note !== undefined && { note: way.note }) })
          }
          timed.push({ operation, kind, row: rows.reduce((a, b) => (b.ms < a.ms ? b : a)) })
        }
      }
      own!.check()
      return timed
    } finally {
      prepared.dispose()
    }
  },
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** ms of one product, in so long a row that the wait for its end weighs little. */
async function wall({ device }: Clock, { run }: Product, settings: Settings): Promise<number[]> {
  const once = async (times: number) => {
    const before = performance.now()
    await run(times)
    await device.queue.onSubmittedWorkDone()
    return performance.now() - before
  }
  const least = byEffort(settings, 50, 25, 0)
  let times = 1
  while ((await once(times)) < least && times < MOST) times *= 2
  const samples = await collect(
    settings,
    () => once(times),
    (ms) => ms,
  )
  return samples.map((ms) => ms / times)
}

/** ms of one product's compute passes, in so large a batch that its other work weighs little. */
function gpu(clock: Clock, { run }: Product, settings: Settings): Promise<number[]> {
  const times = byEffort(settings, 32, 32, 2)
  const once = async () => {
    const { passes } = await clock.time(() => run(times))
    return passes.reduce((sum, { ms }) => sum + ms, 0) / times
  }
  return collect(settings, once, (ms) => ms)
}

type Dims = Pick<Operands, 'rows' | 'cols' | 'rank'>

/** Operands of standard normals, the same for all libraries. */
async function operandsOf({ rows, cols, rank }: Dims): Promise<Operands> {
  const on = await createWasmKernels({ floats: rows * cols + (rows + cols) * rank + 12 })
  const filled = (floats: number, seed: number): Float32Array => {
    const array = on.alloc(floats)
    on.normal(array, seed, 0, 0, 0, 0)
    return array.slice()
  }
  const factor = (length: number, seed: number): Factor => {
    const columns = filled(length * rank, seed)
    return { columns, rows: transpose(columns, length) }
  }
  return { rows, cols, rank, m: filled(rows * cols, 1), p: factor(rows, 2), q: factor(cols, 3) }
}

Object.assign(globalThis, { page })
export type Page = typeof page
