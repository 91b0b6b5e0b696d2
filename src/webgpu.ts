// lowrank/webgpu: the kernels on the GPU.

import { wasm } from './backends/wasm/index.ts'
import { webgpu } from './backends/webgpu/index.ts'
import { UnsupportedError } from './errors.ts'
import type { Backend } from './seam.ts'

export {
  type GpuDevice,
  type WebgpuBackend,
  type WebgpuOptions,
  webgpu,
} from './backends/webgpu/index.ts'
export { DeviceLostError, UnsupportedError } from './errors.ts'
export type { GpuBuffer, GpuTensor, Tensor } from './seam.ts'

/** A backend, and why it is this one. */
export interface Best extends Backend {
  readonly reason: string
}

/** WebGPU where there is hardware for it, else wasm. Which, and why, is in `name` and `reason`. */
export async function best(): Promise<Best> {
  try {
    const backend = await webgpu()
    return { ...backend, reason: `a GPU: ${backend.description}` }
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error
    return { ...wasm(), reason: error.message }
  }
}
