// lowrank/factored: methods for gradients given as activations and deltas, their product not formed.
export type { DadOptions } from './algorithms/factored/dad.ts'
export type { RankDadOptions } from './algorithms/factored/rank-dad.ts'
export type { Factored, Gradient } from './backend.ts'
export { dad, factored, rankDad } from './compressor/factored.ts'
