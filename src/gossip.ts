// lowrank/gossip: training without a coordinator. Each node mixes its parameters with those of its
// neighbours; lowrank/topology has the weights.
export type { Backend, GpuBuffer, GpuTensor, Tensor } from './backend.ts'
export { FrameError, RoundError, UnsupportedError } from './errors.ts'
export { createGossip, type EdgeRandom, type GossipOptions } from './gossip/create.ts'
export {
  type CompressedOptions,
  choco,
  deepSqueeze,
  type GossipMethod,
  type MoniquaOptions,
  moniqua,
  type PowerGossipOptions,
  plain,
  powerGossip,
} from './gossip/method.ts'
export type { Applied, EdgeOutcome, Gossip } from './gossip/node.ts'
export { type GossipPlan, type GossipPlanOptions, planGossip } from './gossip/traffic.ts'
export type { ParameterSpec } from './options.ts'
