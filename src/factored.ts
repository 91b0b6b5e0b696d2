// lowrank/factored: methods that compress gradients given as activations and deltas, without
// forming their product.
export type { DadOptions } from './algorithms/factored/dad.ts'
export type { RankDadOptions } from './algorithms/factored/rank-dad.ts'
export type { Factored, Gradient } from './backend.ts'
export { dad, factored, rankDad } from './compressor/factored.ts'
