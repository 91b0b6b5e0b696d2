// lowrank/kernels: the kernels themselves on single matrices, and textbook routines made of them.
export { reference } from './backends/reference.ts'
export { createWasmKernels, type WasmKernels } from './backends/wasm/kernels.ts'
export {
  type Iteration,
  orthogonalIteration,
  powerIteration,
  type Svd,
  svd,
} from './decompositions.ts'
export { type Qr, qr } from './qr.ts'
export type { Dims, Kernels, MaybePromise } from './seam.ts'
