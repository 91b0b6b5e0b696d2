// One device as sessions use it: pipelines, bindings, and the errors of calls.
import { DeviceLostError } from '../../errors.ts'
import { SHADERS, type ShaderName } from './shaders.ts'

/** As the specification numbers them: the names are global in browsers alone. */
export const USAGE = {
  MAP_READ: 1,
  COPY_SRC: 4,
  COPY_DST: 8,
  UNIFORM: 64,
  STORAGE: 128,
} as const
const COMPUTE = 4

/** Of buffers that shaders use and commands copy, from and to: STORAGE, COPY_SRC, COPY_DST. */
export const DATA_USAGE = 140

/** Storage bindings after the uniform at 0: those that are read (r), and written (w). */
const BINDINGS: Readonly<Record<ShaderName, string>> = {
  accumulateProject: 'rrrrrwww',
  backproject: 'rrrrw',
  momentum: 'rwrw',
  norm: 'rw',
  orthonormalize: 'rw',
  reduce: 'rrw',
  scale: 'w',
  settle: 'rrrrrww',
}

/** Values of a shader's `override` constants. */
export type Constants = Readonly<Record<string, number>>

/** The error of calls made together, or null. */
export type Verdict = Promise<GPUError | null>

/** Work may fail so long before its device says that it is lost. */
const GRACE_MS = 200

/** Devices in use: sessions share the pipelines of one. */
const known = new WeakMap<GPUDevice, Gpu>()

export class Gpu {
  readonly device: GPUDevice
  /** bytes that a buffer may have to be bound as a whole */
  readonly limit: number
  /** the offset of a bound part is a multiple of this, in bytes */
  readonly alignment: number
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>()
  readonly #layouts = new Map<ShaderName, GPUBindGroupLayout>()
  readonly #modules = new Map<ShaderName, GPUShaderModule>()
  readonly #lost: Promise<never>
  #loss: DeviceLostError | null = null

  static of(device: GPUDevice): Gpu {
    return getOrMake(known, device, () => new Gpu(device))
  }

  private constructor(device: GPUDevice) {
    this.device = device
    const { maxStorageBufferBindingSize, maxBufferSize } = device.limits
    this.limit = Math.min(maxStorageBufferBindingSize, maxBufferSize)
    this.alignment = device.limits.minStorageBufferOffsetAlignment
    this.#lost = device.lost.then(({ reason, message }) => {
      this.#loss = new DeviceLostError(`the GPU device is lost (${reason}): ${message}`)
      throw this.#loss
    })
    this.#lost.catch(() => undefined) // `orLost` passes it on
  }

  /** @throws DeviceLostError */
  assertAlive(): void {
    if (this.#loss) throw this.#loss
  }

  /** Waits for work, or for the loss of the device if that comes first. */
  async orLost<T>(work: Promise<T>): Promise<T> {
    try {
      return await Promise.race([work, this.#lost])
    } catch (error) {
      // Work may fail of the loss before the device reports it.
      await Promise.race([this.#lost, new Promise((resolve) => setTimeout(resolve, GRACE_MS))])
      throw new Error(`WebGPU: ${(error as Error).message}`, { cause: error })
    }
  }

  /** Calls the API within error scopes: outside of them, only the console is told of errors. */
  checked<T>(calls: () => T): { readonly value: T; readonly verdict: Verdict } {
    this.assertAlive()
    const { device } = this
    device.pushErrorScope('out-of-memory')
    device.pushErrorScope('validation')
    const pop = (): Verdict => {
      const verdict = device.popErrorScope()
      verdict.catch(() => undefined) // of a lost device; whoever awaits it is told
      return verdict
    }
    let value: T
    try {
      value = calls()
    } catch (error) {
      pop()
      pop()
      throw error
    }
    const verdict = Promise.all([pop(), pop()]).then(([invalid, memory]) => invalid ?? memory)
    verdict.catch(() => undefined)
    return { value, verdict }
  }

  /** @param entry  of the shader's functions; by default that of its name */
  pipeline(
    shader: ShaderName,
    constants: Constants = {},
    entry: string = shader,
  ): Promise<GPUComputePipeline> {
    const key = `${entry} ${JSON.stringify(constants)}`
    const { device } = this
    const make = () =>
      device.createComputePipelineAsync({
        label: key,
        layout: device.createPipelineLayout({ bindGroupLayouts: [this.#layout(shader)] }),
        compute: { module: this.#module(shader), entryPoint: entry, constants },
      })
    const made = getOrMake(this.#pipelines, key, () => {
      // The promise of an invalid pipeline says why. So the verdict is not needed.
      const { value } = this.checked(make)
      value.catch(() => this.#pipelines.delete(key)) // the next call tries again
      return value
    })
    return this.orLost(made)
  }

  bind(shader: ShaderName, resources: readonly GPUBufferBinding[]): GPUBindGroup {
    const entries = resources.map((resource, binding) => ({ binding, resource }))
    return this.device.createBindGroup({ layout: this.#layout(shader), entries })
  }

  buffer(label: string, bytes: number, usage: number): GPUBuffer {
    return this.device.createBuffer({ label, size: Math.max(16, 4 * Math.ceil(bytes / 4)), usage })
  }

  #module(shader: ShaderName): GPUShaderModule {
    return getOrMake(this.#modules, shader, () =>
      this.device.createShaderModule({ label: shader, code: SHADERS[shader] }),
    )
  }

  /** Not 'auto': that leaves out bindings that an entry point, with its overrides, does not use. */
  #layout(shader: ShaderName): GPUBindGroupLayout {
    return getOrMake(this.#layouts, shader, () => {
      const types: GPUBufferBindingType[] = ['uniform']
      for (const access of BINDINGS[shader]) {
        types.push(access === 'r' ? 'read-only-storage' : 'storage')
      }
      const entries = types.map((type, binding) => {
        return { binding, visibility: COMPUTE, buffer: { type } }
      })
      return this.device.createBindGroupLayout({ label: shader, entries })
    })
  }
}

/** Waits for all of them, whichever fails. @throws  the first one's error */
export async function allDone(work: readonly Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) {
    if (result.status === 'rejected') throw result.reason
  }
}

/** The map's value, or one that is made and put there. */
export function getOrMake<Key, Value>(
  map: { get(key: Key): Value | undefined; set(key: Key, value: Value): unknown },
  key: Key,
  make: () => Value,
): Value {
  const found = map.get(key) ?? make()
  map.set(key, found)
  return found
}

/** Throws the error of a verdict. @throws Error  if there is one */
export function raise(error: GPUError | null | undefined): void {
  if (error) throw new Error(`WebGPU: ${error.message}`, { cause: error })
}
