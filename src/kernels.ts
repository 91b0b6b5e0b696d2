// lowrank/kernels: the kernels on single matrices (`createWasmKernels`, `reference`), or on all
// matrices of a model (`wasm().open(createLayout(shapes))`), and textbook routines made of them.

export type {
  Backend,
  Dims,
  Kernels,
  Layout,
  MaybePromise,
  Parameter,
  Session,
  Sink,
  Slot,
} from './backend.ts'
export { reference } from './backends/reference.ts'
export { type WasmOptions, wasm } from './backends/wasm/index.ts'
export { createWasmKernels, type WasmKernels } from './backends/wasm/kernels.ts'
export { createLayout } from './compressor/traffic.ts'
export {
  type Iteration,
  orthogonalIteration,
  powerIteration,
  type Svd,
  svd,
} from './linalg/decompositions.ts'
export { type Qr, qr } from './linalg/qr.ts'
