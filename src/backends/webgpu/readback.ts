// Reads from the GPU: a pool of buffers that can be mapped.
import { type Gpu, USAGE } from './gpu.ts'

const READ = 1 // GPUMapMode.READ

/** Most bytes that are read in one go. */
export const MOST_BYTES = 1 << 26

export class Readback {
  readonly #gpu: Gpu
  readonly #free: GPUBuffer[] = []

  constructor(gpu: Gpu) {
    this.#gpu = gpu
  }

  /** A buffer to copy to; `read` gives it back. */
  take(bytes: number): GPUBuffer {
    const fit = this.#free.findIndex(({ size }) => size >= bytes)
    if (fit >= 0) return this.#free.splice(fit, 1)[0]!
    this.#free.pop()?.destroy() // too small: sizes seldom change, and then for good
    return this.#gpu.buffer('readback', bytes, USAGE.MAP_READ | USAGE.COPY_DST)
  }

  /**
   * Waits for what has been submitted, and lends the buffer's bytes to `use`. A buffer that cannot be
   * read is destroyed.
   */
  async read(buffer: GPUBuffer, bytes: number, use: (bytes: ArrayBuffer) => void): Promise<void> {
    const stop = hurry(this.#gpu.device)
    try {
      await this.#gpu.orLost(buffer.mapAsync(READ, 0, bytes))
      this.#gpu.assertAlive()
      use(buffer.getMappedRange(0, bytes))
      buffer.unmap()
      this.#free.push(buffer)
    } catch (error) {
      buffer.destroy()
      throw error
    } finally {
      stop()
    }
  }

  destroy(): void {
    for (const buffer of this.#free.splice(0)) buffer.destroy()
  }
}

/**
 * Makes Firefox map buffers at once. It looks every 100 ms whether one can be mapped (its bug 1870699),
 * and at each submission: so empty ones are made until the result is called.
 */
function hurry({ queue }: GPUDevice): () => void {
  const { navigator } = globalThis as { navigator?: { userAgent?: string } }
  if (!navigator?.userAgent?.includes('Firefox')) return () => undefined
  const timer = setInterval(() => queue.submit([]), 1)
  return () => clearInterval(timer)
}
