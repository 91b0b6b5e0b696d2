// lowrank: low-rank gradient compression. The other entry points of the package (lowrank/frames,
// lowrank/methods, …) are the files beside this one that only export.
export type {
  Backend,
  Factored,
  GpuBuffer,
  GpuTensor,
  Gradient,
  Random,
  Tensor,
} from './backend.ts'
export { type WasmOptions, wasm } from './backends/wasm/index.ts'
export { aggregate, createAggregate } from './codec/aggregate.ts'
export { mergeCheckpoints } from './compressor/checkpoint.ts'
export type { Compressor, DecompressOptions, Stats } from './compressor/compressor.ts'
export { createCompressor } from './compressor/create.ts'
export { createSgd, type Sgd, type SgdOptions } from './compressor/sgd.ts'
export type { Absence, Outcome } from './compressor/step.ts'
export { type Plan, type PlannedParameter, plan, type Traffic } from './compressor/traffic.ts'
export { DeviceLostError, FrameError, RoundError, UnsupportedError } from './errors.ts'
export type { Method, Options, ParameterSpec, Rank, SharedOptions } from './options.ts'
