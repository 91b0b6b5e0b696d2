// `lowrank/frames`: frames for those who carry them. Needs no compressor and no wasm.
export { type Aggregate, aggregate, createAggregate } from './codec/aggregate.ts'
export type { Wire } from './codec/floats.ts'
export { type Inspection, inspect } from './codec/inspect.ts'
export { fromPayload, payload } from './codec/payload.ts'
export { join, split } from './codec/split.ts'
export { FrameError, RoundError, UnsupportedError } from './errors.ts'
