// One session's commands. They are recorded in the order called, and submitted together before the CPU
// reads or overwrites anything, and before a caller may use its buffers again.
import { type Gpu, raise, USAGE, type Verdict } from './gpu.ts'
import { type FieldValues, pack, type Struct } from './structs.ts'

/** Bytes between the uniforms of a table: the largest alignment that a device may ask for. */
export const UNIFORM_STRIDE = 256
/** Bytes that are bound of each: no uniform of structs.ts is larger. */
const UNIFORM_BYTES = 32

/** A table of uniforms, each where it can be bound. */
export function uniformTable<Field extends string>(
  struct: Struct<Field>,
  uniforms: readonly FieldValues<Field>[],
): Uint32Array<ArrayBuffer> {
  return pack(struct, uniforms, UNIFORM_STRIDE / 4)
}

/** The i-th of such a table, as it is bound. */
export function uniformAt(buffer: GPUBuffer, i: number): GPUBufferBinding {
  return { buffer, offset: UNIFORM_STRIDE * i, size: UNIFORM_BYTES }
}

export class Recorder {
  readonly gpu: Gpu
  #encoder: GPUCommandEncoder | null = null
  #verdicts: Verdict[] = []
  /** destroyed when the commands being recorded are submitted */
  #transient: GPUBuffer[] = []

  constructor(gpu: Gpu) {
    this.gpu = gpu
  }

  /** Calls the API; `checkErrors` throws what it finds wrong with the calls. */
  checked<T>(calls: () => T): T {
    const { value, verdict } = this.#scoped(calls)
    this.#verdicts.push(verdict)
    return value
  }

  /**
   * Calls the API, and submits what the calls record: all of it, or nothing if one fails.
   *
   * @returns whether the device has taken it; the promise never rejects
   */
  submit(calls: () => void): Promise<boolean> {
    if (this.#encoder) this.checked(() => this.flush())
    const { verdict } = this.#scoped(() => {
      calls()
      this.flush()
    })
    this.#verdicts.push(verdict)
    return verdict.then(
      (error) => error === null,
      () => false,
    )
  }

  /** Calls within error scopes. If one throws, nothing is left of the commands that they began. */
  #scoped<T>(calls: () => T): { readonly value: T; readonly verdict: Verdict } {
    const before = this.#encoder
    try {
      return this.gpu.checked(calls)
    } catch (error) {
      if (this.#encoder !== before) {
        this.#encoder = null
        for (const buffer of this.#transient.splice(0)) buffer.destroy()
      }
      throw error
    }
  }

  get encoder(): GPUCommandEncoder {
    this.#encoder ??= this.gpu.device.createCommandEncoder({ label: 'lowrank' })
    return this.#encoder
  }

  /** Dispatches `count` workgroups, and a few more where they take two dimensions. */
  dispatch(label: string, pipeline: GPUComputePipeline, group: GPUBindGroup, count: number): void {
    if (count === 0) return
    const most = this.gpu.device.limits.maxComputeWorkgroupsPerDimension
    const y = Math.ceil(count / most)
    const pass = this.encoder.beginComputePass({ label })
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, group)
    pass.dispatchWorkgroups(Math.ceil(count / y), y)
    pass.end()
  }

  /** Submits what has been recorded. */
  flush(): void {
    if (!this.#encoder) return
    const commands = this.#encoder.finish()
    this.#encoder = null
    this.gpu.device.queue.submit([commands])
    for (const buffer of this.#transient.splice(0)) buffer.destroy()
  }

  /** A buffer that is destroyed when the commands being recorded are submitted. */
  transient(label: string, bytes: number, usage: number): GPUBuffer {
    const buffer = this.gpu.buffer(label, bytes, usage)
    this.#transient.push(buffer)
    return buffer
  }

  /** The same for a table of uniforms. */
  uniforms<Field extends string>(
    struct: Struct<Field>,
    values: readonly FieldValues<Field>[],
  ): GPUBuffer {
    const buffer = this.table('uniforms', uniformTable(struct, values), USAGE.UNIFORM)
    this.#transient.push(buffer) // only now: writing it has submitted the commands before
    return buffer
  }

  /** A buffer that holds these words. */
  table(label: string, words: Uint32Array<ArrayBuffer>, usage: number = USAGE.STORAGE): GPUBuffer {
    const buffer = this.gpu.buffer(label, words.byteLength, usage | USAGE.COPY_DST)
    this.write(buffer, 0, words)
    return buffer
  }

  /**
   * Overwrites bytes of a buffer, after all that has been recorded.
   *
   * It is given bytes, and never shared memory: with `webgpu` 0.6.2, Node 20 dies of shared memory
   * and Node 24 of a Float16Array.
   */
  write(buffer: GPUBuffer, at: number, values: ArrayBufferView<ArrayBuffer>): void {
    if (values.byteLength === 0) return
    this.flush()
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    this.gpu.device.queue.writeBuffer(buffer, at, bytes, 0, bytes.length)
  }

  /** Waits for the verdicts on all calls so far. @throws Error  if one is an error */
  async checkErrors(): Promise<void> {
    const verdicts = this.#verdicts.splice(0)
    for (const verdict of await this.gpu.orLost(Promise.all(verdicts))) raise(verdict)
  }
}
