// What runs in the browser: bundled from the built package, called from browser.test.ts.
import { createCompressor } from 'lowrank'
import { createWasmKernels } from 'lowrank/kernels'
import { golden } from '../built/golden.ts'
import { SHAPES, work } from './worker.ts'

const page = {
  golden,

  /** The golden hashes from a web worker. */
  goldenInWorker(): Promise<Awaited<ReturnType<typeof golden>>> {
    return new Promise((resolve, reject) => {
      const worker = new Worker('/worker.js', { type: 'module' })
      worker.onmessage = ({ data }) => resolve(data)
      worker.onerror = ({ message }) => reject(new Error(message))
    })
  },

  /** Takes part in a fleet: its frames go out by POST, and the means are the answers. */
  work: (sender: number, steps: number) =>
    work(sender, steps, async (frame) => {
      const response = await fetch('/mean', { method: 'POST', body: frame.slice() })
      return new Uint8Array(await response.arrayBuffer())
    }),

  /** What creating a compressor, and kernels, throws. */
  errors(): Promise<string[]> {
    const told = ({ name, message }: Error) => `${name}: ${message}`
    return Promise.all([
      createCompressor(SHAPES).then(() => 'no error', told),
      createWasmKernels().then(() => 'no error', told),
    ])
  },

  isolated: () => crossOriginIsolated,
}

Object.assign(globalThis, { page })
export type Page = typeof page
