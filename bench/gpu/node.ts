// WebGPU in Node: Dawn, from the package webgpu.

/** Kept for as long as the process lives: the process aborts when this is collected. */
let kept: GPU | undefined

/**
 * Creates the GPU. Puts WebGPU's constants where browsers have them, and has timestamps in full
 * precision.
 */
export async function gpuOfNode(): Promise<GPU> {
  const { create, globals } = await import('webgpu')
  Object.assign(globalThis, globals)
  kept ??= create(['disable-dawn-features=timestamp_quantization'])
  return kept
}
