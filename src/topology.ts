// lowrank/topology: graphs of gossip nodes, their mixing weights, and how fast mixing converges.
export {
  complete,
  isDoublyStochastic,
  isSymmetric,
  type Mixing,
  metropolis,
  optimalGamma,
  ring,
  spectralGap,
  star,
  type Topology,
  torus,
} from './gossip/topology.ts'
