// `best`: the fastest backend that this machine has.
import type { Backend } from '../backend.ts'
import { UnsupportedError } from '../errors.ts'
import { takesNone } from '../validate.ts'
import { wasm } from './wasm/index.ts'
import { type GpuDevice, webgpu } from './webgpu/index.ts'

/** The backend that `best` has chosen. */
export interface Best extends Backend {
  readonly name: 'webgpu' | 'wasm'
  /** why it was chosen: a description of the GPU, or the reason why there is none */
  readonly reason: string
  /** the device on which GPU tensors must lie; null on wasm, which takes arrays only */
  readonly device: GpuDevice | null
  /** Destroys the device, if there is one. Dispose of its compressors first. */
  dispose(): void
}

/**
 * Chooses WebGPU if this host has a GPU for it, otherwise wasm. `name` and `reason` say which, and
 * why.
 */
export async function best(...none: []): Promise<Best> {
  takesNone(none)
  try {
    const backend = await webgpu()
    return { ...backend, reason: `WebGPU has a device for it: ${backend.description}` }
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error
    const { open } = wasm()
    return { name: 'wasm', open, reason: error.message, device: null, dispose: () => undefined }
  }
}
