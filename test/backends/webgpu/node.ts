// WebGPU in Node: Dawn, of the package `webgpu`.
import { useSoftwareVulkan } from '../../../scripts/swiftshader.ts'
import { hardware } from './vulkan.ts'

/** By their options. If one is collected as garbage, the process crashes. */
const made = new Map<string, GPU>()

/** On SwiftShader, or on hardware if the environment says so (vulkan.ts); or why there is none. */
export async function nodeGpu(): Promise<GPU | string> {
  const missing = hardware ? null : await useSoftwareVulkan()
  return missing ?? gpuWith([])
}

/** A device that checks all it is told, and computes nothing: it has every feature that shaders use. */
export async function openNullDevice(): Promise<GPUDevice> {
  const adapter = await (await gpuWith(['backend=null'])).requestAdapter()
  return adapter!.requestDevice({ requiredFeatures: ['shader-f16', 'subgroups'] })
}

async function gpuWith(options: string[]): Promise<GPU> {
  const { create } = await import('webgpu')
  const key = options.join()
  const gpu = made.get(key) ?? create(options)
  made.set(key, gpu)
  return gpu
}
