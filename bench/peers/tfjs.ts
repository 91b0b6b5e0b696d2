// TensorFlow.js on its wasm backend: SIMD, one thread.
import { createRequire } from 'node:module'
import { dirname, sep } from 'node:path'
import { load, type Peer, type Product } from './peer.ts'

interface Tensor {
  data(): Promise<Float32Array>
  dispose(): void
}

interface Core {
  env(): { set(flag: string, value: boolean): void; getBool(flag: string): boolean }
  setBackend(name: string): Promise<boolean>
  tensor2d(values: Float32Array, shape: [number, number]): Tensor
  matMul(a: Tensor, b: Tensor): Tensor
}

const BACKEND = '@tensorflow/tfjs-backend-wasm'

export const tfjs: Peer = {
  name: 'tfjs-wasm',
  async prepare(values, rows, cols) {
    const tf = await load<Core>('@tensorflow/tfjs-core')
    const { setWasmPaths } = await load<{ setWasmPaths(folder: string): void }>(BACKEND)
    setWasmPaths(dirname(createRequire(import.meta.url).resolve(BACKEND)) + sep)
    tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false)
    if (!(await tf.setBackend('wasm'))) throw new Error('tfjs: its wasm backend does not start')
    const m = tf.tensor2d(values, [rows, cols])
    const product = (a: Tensor, b: Tensor, byColumn: boolean): Product => ({
      later: false,
      byColumn,
      run: () => tf.matMul(a, b).dispose(),
      async read() {
        const out = tf.matMul(a, b)
        const data = await out.data()
        out.dispose()
        return data
      },
    })
    return async (p, q, rank) => {
      // No call transposes. At 4096², r = 4, with a transpose in the call and without: Mᵀ·P 84 ms,
      // Pᵀ·M 10; P·Qᵀ 136 and 7.
      const right = tf.tensor2d(q.columns, [rank, cols])
      return {
        M·Q: product(m, tf.tensor2d(q.rows, [cols, rank]), false),
        Mᵀ·P: product(tf.tensor2d(p.columns, [rank, rows]), m, true),
        P·Qᵀ: product(tf.tensor2d(p.rows, [rows, rank]), right, false),
      }
    }
  },
}
