// One session's commands: recorded in the order called, submitted together before something is read,
// or written over by the CPU, or before a caller may go on to use its buffers.
import { type Gpu, raise, USAGE, type Verdict } from './gpu.ts'
import { type FieldValues, pack, type Struct } from './structs.ts'

/** Bytes between the uniforms of a table: the largest alignment that a device may ask for. */
export const UNIFORM_STRIDE = 256
/** Bytes that are bound of each: no struct of structs.ts that is a uniform has more. */
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
  /** for the commands being recorded, and no longer */
  #transient: GPUBuffer[] = []

  constructor(gpu: Gpu) {
    this.gpu = gpu
  }

  /** Calls the API; `heard` tells what was wrong with the calls. */
  checked<T>(calls: () => T): T {
    const { value, verdict } = this.gpu.checked(calls)
    this.#verdicts.push(verdict)
    return value
  }

  get encoder(): GPUCommandEncoder {
    this.#encoder ??= this.gpu.device.createCommandEncoder({ label: 'lowrank' })
    return this.#encoder
  }

  /** One workgroup for each of `count`, in as many dimensions as it takes. */
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

  /** A buffer for the commands that are being recorded: it goes when they are submitted. */
  transient(label: string, bytes: number, usage: number): GPUBuffer {
    const buffer = this.gpu.buffer(label, bytes, usage)
    this.#transient.push(buffer)
    return buffer
  }

  /** A table of uniforms for the commands that are being recorded. */
  uniforms<Field extends string>(
    struct: Struct<Field>,
    values: readonly FieldValues<Field>[],
  ): GPUBuffer {
    const buffer = this.table('uniforms', uniformTable(struct, values), USAGE.UNIFORM)
    this.#transient.push(buffer) // not before: to write it, commands have been submitted
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
   * Never from shared memory, and always as bytes: `webgpu` 0.6.2 kills Node 20 over the one, and
   * Node 24 over a Float16Array.
   */
  write(buffer: GPUBuffer, at: number, values: ArrayBufferView<ArrayBuffer>): void {
    if (values.byteLength === 0) return
    this.flush()
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    this.gpu.device.queue.writeBuffer(buffer, at, bytes, 0, bytes.length)
  }

  /** Waits for what the API says of all calls so far. @throws Error  if it is anything */
  async checkErrors(): Promise<void> {
    const verdicts = this.#verdicts.splice(0)
    for (const verdict of await this.gpu.orLost(Promise.all(verdicts))) raise(verdict)
  }
}
