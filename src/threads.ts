// lowrank/threads: the WebAssembly backend on several threads. It is a separate entry point because
// most bundles do not need it. An `import()` within the package would not do: Vite before 8 refuses
// one in a web worker.
export { type ThreadsOptions, threadedWasm as wasm } from './backends/wasm/threaded.ts'
