// The backend that suits this machine.
import type { Backend } from '../backend.ts'
import { UnsupportedError } from '../errors.ts'
import { wasm } from './wasm/index.ts'
import { type GpuDevice, webgpu } from './webgpu/index.ts'

/** A backend, and why it is this one. */
export interface Best extends Backend {
  readonly name: 'webgpu' | 'wasm'
  readonly reason: string
  /** where GPU tensors must lie; null on wasm, which takes arrays alone */
  readonly device: GpuDevice | null
  /** Destroys the device, if there is one; after its compressors have been disposed of. */
  dispose(): void
}

/** WebGPU where there is hardware for it, else wasm. Which, and why, is in `name` and `reason`. */
export async function best(): Promise<Best> {
  try {
    const backend = await webgpu()
    return { ...backend, reason: `WebGPU has a device for it: ${backend.description}` }
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error
    const { open } = wasm()
    return { name: 'wasm', open, reason: error.message, device: null, dispose: () => undefined }
  }
}
