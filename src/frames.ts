// lowrank/frames: aggregate, inspect and slice frames, on servers and in transports that have no
// compressor. It loads no WebAssembly.
export { type Aggregate, aggregate, createAggregate } from './codec/aggregate.ts'
export { fromPayload, payload } from './codec/allreduce.ts'
export { type Inspection, inspect } from './codec/inspect.ts'
export { joinSlices, splitFrame } from './codec/slices.ts'
export type { Wire } from './codec/wire/index.ts'
export { FrameError, RoundError, UnsupportedError } from './errors.ts'
