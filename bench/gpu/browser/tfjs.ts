// TensorFlow.js on its WebGPU backend. It has two ways for some products; which is faster depends
// on the shapes, so both are tried.
import type { Library, Product } from './library.ts'

interface Tensor {
  data(): Promise<Float32Array>
  dispose(): void
}

/** The used part of TensorFlow.js: its own types are absent where it is not installed. */
interface Core {
  env(): { set(flag: string, value: boolean): void }
  backend(): { readonly device: GPUDevice }
  setBackend(name: string): Promise<boolean>
  ready(): Promise<void>
  tensor2d(values: Float32Array, shape: [number, number]): Tensor
  matMul(a: Tensor, b: Tensor, transposeA?: boolean, transposeB?: boolean): Tensor
  neg(x: Tensor): Tensor
}

/** The script that `main.ts` serves. */
export const SCRIPT = '/tfjs.js'

export async function tfjs(): Promise<Library> {
  const tf = (await import(SCRIPT)) as Core
  tf.env().set('WEBGPU_CPU_FORWARD', false) // small products would be computed in JavaScript
  if (!(await tf.setBackend('webgpu'))) throw new Error('its WebGPU backend does not start')
  await tf.ready()
  return {
    device: tf.backend().device,
    async prepare({ rows, cols, rank, m, p, q }) {
      const tensors: Tensor[] = []
      const tensor = (values: Float32Array, shape: [number, number]): Tensor => {
        const made = tf.tensor2d(values, shape)
        tensors.push(made)
        return made
      }
      const one = tensor(new Float32Array(1), [1, 1])
      const [matrix, left, right] = [
        tensor(m, [rows, cols]),
        tensor(p.rows, [rows, rank]),
        tensor(q.rows, [cols, rank]),
      ]
      const [leftRows, rightRows] = [
        tensor(p.columns, [rank, rows]),
        tensor(q.columns, [rank, cols]),
      ]
      const product = (
        note: string,
        a: Tensor,
        b: Tensor,
        [transposeA, transposeB]: [boolean, boolean],
        byColumn = false,
      ): Product => ({
        note,
        byColumn,
        async run(times) {
          for (let i = 0; i < times; i++) tf.matMul(a, b, transposeA, transposeB).dispose()
          // TensorFlow.js submits every 15 dispatches, and before it reads.
          const last = tf.neg(one)
          await last.data()
          last.dispose()
        },
        async read() {
          const out = tf.matMul(a, b, transposeA, transposeB)
          const data = await out.data()
          out.dispose()
          return data
        },
      })
      return {
        products: {
          M·Q: [
            product('M·Q', matrix, right, [false, false]),
            product('Qᵀ·Mᵀ', rightRows, matrix, [false, true], true),
          ],
          Mᵀ·P: [
            product('Mᵀ·P', matrix, left, [true, false]),
            product('Pᵀ·M', leftRows, matrix, [false, false], true),
          ],
          P·Qᵀ: [
            product('Q by columns', left, rightRows, [false, false]),
            product('Q by rows', left, right, [false, true]),
          ],
        },
        dispose() {
          for (const tensor of tensors) tensor.dispose()
        },
      }
    },
  }
}
