// jax-js on its wasm backend, jitted. It has one thread, for Node has no global Worker.
import { defaultDevice, init, jit, numpy as np } from '@jax-js/jax'
import type { Peer, Product } from './peer.ts'

export const jax: Peer = {
  name: 'jax-js',
  async prepare(values, rows, cols) {
    await init('wasm')
    defaultDevice('wasm')
    const array = async (x: Float32Array, shape: [number, number]) => {
      const made = np.array(x).reshape(shape)
      await made.ref.blockUntilReady()
      return made
    }
    const m = await array(values, [rows, cols])
    const timesTransposed = jit((a: np.Array, b: np.Array) => np.matmul(a, b.transpose()))
    const transposedTimes = jit((a: np.Array, b: np.Array) => np.matmul(a.transpose(), b))
    const times = jit((a: np.Array, b: np.Array) => np.matmul(a, b))
    // A function disposes of an array that it is given, unless it is given as `.ref`.
    const product = (f: typeof times, a: np.Array, b: np.Array): Product => ({
      later: true,
      byColumn: false,
      async run() {
        const out = await f(a.ref, b.ref).blockUntilReady()
        out.dispose()
      },
      read: async () => (await f(a.ref, b.ref).data()) as Float32Array,
    })
    return async (p, q, rank) => {
      const left = await array(p.rows, [rows, rank])
      const right = await array(q.columns, [rank, cols])
      // At 4096², r = 4, ms: M·Q 14.4 with Q by rows, 7.6 by columns; Mᵀ·P 17.2, Pᵀ·M 19.9.
      return {
        M·Q: product(timesTransposed, m, right),
        Mᵀ·P: product(transposedTimes, m, left),
        P·Qᵀ: product(times, left, right),
      }
    }
  },
}
