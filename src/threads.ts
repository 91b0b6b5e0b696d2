// lowrank/threads: the kernels in WebAssembly on several threads. A door of its own, for most bundles
// do without; not an `import()` within the package, for Vite before 8 refuses one in a web worker.
export { type ThreadsOptions, threadedWasm as wasm } from './backends/wasm/threaded.ts'
