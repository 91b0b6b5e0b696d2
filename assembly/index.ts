// The kernels for the CPU: the whole ABI on one screen. The TypeScript side, with a line on each
// operand, is `Exports` in src/backends/wasm/load.ts.
//
// Memory is imported, and the caller's: no kernel allocates, keeps state or has static data.
// Pointers are byte addresses, aligned to 4; outputs come first.

// On plans: tables of blocks, see inline/block.ts.
export { accumulateProject } from './accumulateProject'
export { project } from './project'
export { backproject } from './backproject'
export { reconstruct } from './reconstruct'
export { residual } from './residual'
export { settle } from './settle'

// On one matrix's factor.
export { orthonormalize } from './orthonormalize'

// On vectors.
export { normal } from './normal'
export { philox } from './philox'
export { norm } from './norm'
export { accumulate } from './accumulate'
export { scale } from './scale'
export { momentum } from './momentum'

/** The first address that the host may use. */
export const heapBase: usize = __heap_base
