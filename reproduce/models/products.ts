// The products of dense layers, by the library's own kernels: the three products of a layer are
// theirs, with the samples of a batch as columns. One core of an x86 server, 512 × 128 with 32
// samples: 28 to 31 GFLOP/s; loops in TypeScript over four samples at once reach 2.
import { createWasmKernels, type WasmKernels } from 'lowrank/kernels'

/**
 * Weights are outputs × inputs, by row; samples lie one after another. All arrays come from
 * `alloc`.
 */
export interface Products {
  /** zeros */
  alloc(floats: number): Float32Array
  /** y ← W·x of each sample */
  forward(y: Float32Array, w: Float32Array, x: Float32Array, layer: Layer): void
  /** dx ← Wᵀ·dy of each sample */
  backward(dx: Float32Array, w: Float32Array, dy: Float32Array, layer: Layer): void
  /** dw ← Σ dy·xᵀ over the samples */
  weights(dw: Float32Array, dy: Float32Array, x: Float32Array, layer: Layer): void
  /** seeded normals times `scale`; each parameter has a stream of its own */
  normal(x: Float32Array, scale: number, seed: number, parameter: number): void
}

export interface Layer {
  readonly inputs: number
  readonly outputs: number
  readonly samples: number
}

/** @param floats  the floats of all arrays together, plus 4 for each array */
export async function createProducts(floats: number): Promise<Products> {
  const kernels: WasmKernels = await createWasmKernels({ floats })
  const dims = ({ inputs, outputs, samples }: Layer) => ({
    rows: outputs,
    cols: inputs,
    rank: samples,
  })
  return {
    alloc: (length) => kernels.alloc(length),
    forward: (y, w, x, layer) => void kernels.project(y, w, x, dims(layer)),
    backward: (dx, w, dy, layer) => void kernels.backproject(dx, w, dy, dims(layer)),
    weights: (dw, dy, x, layer) => void kernels.reconstruct(dw, dy, x, dims(layer)),
    normal(x, scale, seed, parameter) {
      kernels.normal(x, seed, 0, parameter, 0, 0)
      for (let i = 0; i < x.length; i++) x[i] = scale * x[i]!
    },
  }
}
