// lowrank/webgpu: the backend and the kernels on the GPU.
export type { GpuBuffer, GpuTensor, Tensor } from './backend.ts'
export { type Best, best } from './backends/best.ts'
export {
  type GpuDevice,
  type WebgpuBackend,
  type WebgpuOptions,
  webgpu,
} from './backends/webgpu/index.ts'
export { createWebgpuKernels, type WebgpuKernels } from './backends/webgpu/kernels.ts'
export { DeviceLostError, UnsupportedError } from './errors.ts'
