// jax-js on its WebGPU backend, jitted.
import { defaultDevice, getWebGPUDevice, init, jit, numpy as np } from '@jax-js/jax'
import type { Library, Product } from './library.ts'

/**
 * So many results are requested together, for jax-js computes nothing before a result is requested.
 */
const TOGETHER = 8

export async function jax(): Promise<Library> {
  if (!(await init('webgpu')).includes('webgpu'))
    throw new Error('its WebGPU backend does not start')
  defaultDevice('webgpu')
  const timesTransposed = jit((a: np.Array, b: np.Array) => np.matmul(a, b.transpose()))
  const transposedTimes = jit((a: np.Array, b: np.Array) => np.matmul(a.transpose(), b))
  const times = jit((a: np.Array, b: np.Array) => np.matmul(a, b))
  return {
    device: getWebGPUDevice(),
    async prepare({ rows, cols, rank, m, p, q }) {
      const arrays: np.Array[] = []
      const array = async (values: Float32Array, shape: [number, number]): Promise<np.Array> => {
        const made = np.array(values as Float32Array<ArrayBuffer>).reshape(shape)
        arrays.push(made)
        return made.blockUntilReady()
      }
      const matrix = await array(m, [rows, cols])
      const [left, leftRows] = [
        await array(p.rows, [rows, rank]),
        await array(p.columns, [rank, rows]),
      ]
      const [right, rightRows] = [
        await array(q.rows, [cols, rank]),
        await array(q.columns, [rank, cols]),
      ]
      // A function disposes of an array that it is given, unless it is given as `.ref`.
      const product = (
        note: string,
        f: typeof times,
        a: np.Array,
        b: np.Array,
        byColumn = false,
      ): Product => ({
        note,
        byColumn,
        async run(count) {
          for (let done = 0; done < count; done += TOGETHER) {
            const length = Math.min(TOGETHER, count - done)
            const out = Array.from({ length }, () => f(a.ref, b.ref))
            await Promise.all(out.map((one) => one.blockUntilReady()))
            for (const one of out) one.dispose()
          }
        },
        read: async () => (await f(a.ref, b.ref).data()) as Float32Array,
      })
      return {
        products: {
          M·Q: [
            product('M·Q', times, matrix, right),
            product('M·Q, Q by columns', timesTransposed, matrix, rightRows),
          ],
          Mᵀ·P: [
            product('Mᵀ·P', transposedTimes, matrix, left),
            product('Pᵀ·M', times, leftRows, matrix, true),
          ],
          P·Qᵀ: [
            product('Q by columns', times, left, rightRows),
            product('Q by rows', timesTransposed, left, right),
          ],
        },
        dispose() {
          for (const array of arrays) array.dispose()
        },
      }
    },
  }
}
