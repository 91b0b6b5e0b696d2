// WebGPU in Node: Dawn, from the package webgpu.

/** Kept for as long as the process lives: it aborts where this is collected. */
let kept: GPU | undefined

/** With WebGPU's constants put where browsers have them, and timestamps in full precision. */
export async function gpuOfNode(): Promise<GPU> {
  const { create, globals } = await import('webgpu')
  Object.assign(globalThis, globals)
  kept ??= create(['disable-dawn-features=timestamp_quantization'])
  return kept
}
