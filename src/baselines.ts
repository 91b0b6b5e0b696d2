// lowrank/baselines: what PowerSGD is compared with (Vogels, Karimireddy, Jaggi 2019, Table 4), each
// with error feedback, for `createCompressor(shapes, { method })`.
export { bestRank } from './algorithms/baselines/bestrank.ts'
export { type ChooseStart, randomBlock } from './algorithms/baselines/randomblock.ts'
export { type ChooseIndices, randomK } from './algorithms/baselines/randomk.ts'
export { signNorm } from './algorithms/baselines/signnorm.ts'
export { topK } from './algorithms/baselines/topk.ts'
export { uncompressed } from './algorithms/baselines/uncompressed.ts'
