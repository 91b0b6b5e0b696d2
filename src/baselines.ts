// lowrank/baselines: the methods that the paper compares PowerSGD with (Vogels, Karimireddy, Jaggi
// 2019, Table 4), each with error feedback, for `createCompressor(shapes, { method })`.
export { bestRank } from './algorithms/baselines/best-rank.ts'
export { type ChooseStart, randomBlock } from './algorithms/baselines/random-block.ts'
export { type ChooseIndices, randomK } from './algorithms/baselines/random-k.ts'
export { signNorm } from './algorithms/baselines/sign-norm.ts'
export { topK } from './algorithms/baselines/top-k.ts'
export { uncompressed } from './algorithms/baselines/uncompressed.ts'
