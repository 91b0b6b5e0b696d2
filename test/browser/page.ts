// What runs in the browser: bundled from the built package, called from browser.test.ts.
import { createCompressor } from 'lowrank'
import { createWasmKernels } from 'lowrank/kernels'
import { gradientOf, SHAPES, work } from './worker.ts'

const page = {
  /** Takes part in a fleet: its frames go out by POST, and means come back. */
  work: (sender: number, workers: number, steps: number) =>
    work(sender, workers, steps, async (frame) => {
      const response = await fetch('/mean', { method: 'POST', body: frame.slice() })
      return new Uint8Array(await response.arrayBuffer())
    }),

  /** Name and message of what createCompressor and the kernels throw. */
  async errors(): Promise<string[]> {
    const told = ({ name, message }: Error) => `${name}: ${message}`
    return Promise.all([
      createCompressor(SHAPES).then(() => 'none', told),
      createWasmKernels().then(() => 'none', told),
    ])
  },

  /** Milliseconds from nothing to the first frame. */
  async isolated(): Promise<boolean> {
    return crossOriginIsolated
  },
}

Object.assign(globalThis, { page })
export type Page = typeof page
