// lowrank/topology: who mixes with whom, and how fast that brings everyone together.
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
