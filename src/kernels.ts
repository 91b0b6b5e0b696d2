// lowrank/kernels: the kernels themselves, on single matrices (`createWasmKernels`, `reference`) or in
// phases over a whole plan (`wasm().open(layoutPlan(shapes))`), and textbook routines made of them.
export { reference } from './backends/reference.ts'
export { type WasmOptions, wasm } from './backends/wasm/index.ts'
export { createWasmKernels, type WasmKernels } from './backends/wasm/kernels.ts'
export {
  type Iteration,
  orthogonalIteration,
  powerIteration,
  type Svd,
  svd,
} from './decompositions.ts'
export { type Qr, qr } from './qr.ts'
export type {
  Backend,
  Dims,
  Kernels,
  MaybePromise,
  Parameter,
  Plan,
  Session,
  Sink,
  Slot,
} from './seam.ts'
export { layoutPlan } from './traffic.ts'
