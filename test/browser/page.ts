// Runs in the browser: bundled from the built package, called from browser.test.ts and mixed-fleet.test.ts.
import { createCompressor } from 'lowrank'
import { createWasmKernels } from 'lowrank/kernels'
import { golden, relaxedUpdate } from '../built/golden.ts'
import { takePart } from './member.ts'
import { threaded } from './threads.ts'
import { SHAPES, work } from './worker.ts'

const page = {
  golden,
  relaxedUpdate,

  /** The golden hashes from a web worker. */
  goldenInWorker(): Promise<Awaited<ReturnType<typeof golden>>> {
    return new Promise((resolve, reject) => {
      const worker = new Worker('/worker.js', { type: 'module' })
      worker.onmessage = ({ data }) => resolve(data)
      worker.onerror = ({ message }) => reject(new Error(message))
    })
  },

  /** The hash, or what asking for threads throws. @param others  the page's thread gets no unit */
  async threaded([threads, others]: readonly [threads: number, others: boolean]): Promise<string> {
    const { compareExchange } = Atomics
    if (others) Atomics.compareExchange = () => -1 as never
    try {
      return await threaded(threads)
    } catch (error) {
      return String(error)
    } finally {
      Atomics.compareExchange = compareExchange
    }
  },

  /** Takes part in a fleet: its frames go out by POST, and the means are the answers. */
  work: (sender: number, steps: number) =>
    work(sender, steps, async (frame) => {
      const response = await fetch('/mean', { method: 'POST', body: frame.slice() })
      return new Uint8Array(await response.arrayBuffer())
    }),

  /** Takes part in a fleet of several backends. */
  takePart,

  /** The errors that creating a compressor, and kernels, throws. */
  errors(): Promise<string[]> {
    const describe = ({ name, message }: Error) => `${name}: ${message}`
    return Promise.all([
      createCompressor(SHAPES).then(() => 'no error', describe),
      createWasmKernels().then(() => 'no error', describe),
    ])
  },

  isolated: () => crossOriginIsolated,
}

Object.assign(globalThis, { page })
export type Page = typeof page
