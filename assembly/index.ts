// The kernels for the CPU: the whole ABI on one screen. `KernelExports` in
// src/backends/wasm/load.ts declares it in TypeScript, with a line on each operand.
//
// The memory is imported from the host. No kernel allocates, keeps state or has static data.
// Pointers are byte addresses, aligned to 4; outputs come first.

// On layouts: tables of blocks, see inline/block.ts.
export { accumulateProject } from './accumulateProject'
export { project } from './project'
export { backproject } from './backproject'
export { reconstruct } from './reconstruct'
export { residual } from './residual'
export { settle } from './settle'

// On the factor of one matrix.
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
