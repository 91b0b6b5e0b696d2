// `lowrank/frames`: frames for those who carry them. Needs no compressor and no wasm.
export { type Aggregate, aggregate, createAggregate } from './codec/aggregate.ts'
export { fromPayload, payload } from './codec/allreduce.ts'
export { type Inspection, inspect } from './codec/inspect.ts'
export { joinSlices, splitFrame } from './codec/slices.ts'
export type { Wire } from './codec/wire/index.ts'
export { FrameError, RoundError, UnsupportedError } from './errors.ts'
