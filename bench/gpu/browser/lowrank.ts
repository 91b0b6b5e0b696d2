// The package's own products: phases of a session over a layout of one matrix.
import { createLayout, type Slot } from 'lowrank/kernels'
import { webgpu } from 'lowrank/webgpu'
import type { Library, Product } from './library.ts'

export async function lowrank(device: GPUDevice): Promise<Library> {
  const backend = await webgpu({ device })
  return {
    device,
    async prepare({ rows, cols, rank, m, p, q }) {
      const session = await backend.open(
        createLayout([{ shape: [rows, cols], compress: true }], { rank }),
      )
      const write = (slot: Slot, { buffer, byteOffset, byteLength }: Float32Array) =>
        session.write(slot, new Uint8Array(buffer, byteOffset, byteLength))
      write('residual', m)
      write('qHat', q.columns)
      write('qMean', q.columns)
      // M·Q overwrites the left factor. That changes the results of the other products, but not
      // their times.
      const restore = () => write('left', p.columns)
      restore()

      /** Phases are submitted at the latest when one of their slots is read. */
      const reading = (phase: () => unknown, slot: Slot, floats: number): Product => {
        const into = new Float32Array(floats)
        const run = async (times: number) => {
          for (let i = 0; i < times; i++) await phase()
          await session.read([slot], into)
        }
        const read = async () => {
          restore()
          await run(1)
          return into.slice()
        }
        return { run, read, byColumn: true }
      }

      const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage
      const size = 4 * rows * cols
      const update = device.createBuffer({ size, usage: STORAGE | COPY_SRC | COPY_DST })
      const sink = { into: [{ buffer: update }], scale: 1, accumulate: false }
      const reconstruct: Product = {
        byColumn: false,
        async run(times) {
          for (let i = 0; i < times; i++) await session.settle(false, null, sink)
        },
        async read() {
          restore()
          await session.settle(false, null, sink)
          const mapped = device.createBuffer({ size, usage: MAP_READ | COPY_DST })
          const encoder = device.createCommandEncoder()
          encoder.copyBufferToBuffer(update, 0, mapped, 0, size)
          device.queue.submit([encoder.finish()])
          await mapped.mapAsync(GPUMapMode.READ)
          const values = new Float32Array(mapped.getMappedRange().slice(0))
          mapped.destroy()
          return values
        },
      }
      return {
        products: {
          M·Q: [reading(() => session.project(), 'left', rows * rank)],
          Mᵀ·P: [reading(() => session.backproject(), 'qLocal', cols * rank)],
          P·Qᵀ: [reconstruct],
        },
        dispose() {
          session.dispose()
          update.destroy()
        },
      }
    },
  }
}
