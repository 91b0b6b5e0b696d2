// Vulkan in software, for WebGPU where there is no GPU: the SwiftShader of an npm package that
// carries it for its Chromium.
import { join } from 'node:path'
import koffi from 'koffi'
import { archives, unpacked } from './packed.ts'

/** Environment variables that a process needs at its start to find SwiftShader. */
export interface VulkanEnv {
  LD_LIBRARY_PATH?: string
  VK_ICD_FILENAMES?: string
}

/** Why this machine has no SwiftShader; null: it has it. */
const missing =
  process.platform === 'linux' && process.arch === 'x64'
    ? null
    : `@sparticuz/chromium has Vulkan for linux x64, not ${process.platform} ${process.arch}`

/** Kept, for the library must stay for as long as the process does. */
const loaded: unknown[] = []

/** Environment variables for child processes; or why there is no SwiftShader. */
export async function softwareVulkanEnv(): Promise<VulkanEnv | string> {
  return missing ?? environment(await swiftShader())
}

/**
 * Lets this process find SwiftShader, if called before `webgpu` is imported.
 *
 * @returns why it cannot, or null
 */
export async function useSoftwareVulkan(): Promise<string | null> {
  if (missing) return missing
  const folder = await swiftShader()
  process.env.VK_ICD_FILENAMES = environment(folder).VK_ICD_FILENAMES
  // LD_LIBRARY_PATH is read only when a process starts. But Dawn loads the library by its name
  // alone, and so gets the one that is loaded already.
  loaded.push(koffi.load(join(folder, 'libvulkan.so.1')))
  return null
}

async function swiftShader(): Promise<string> {
  const { inflate } = await import('@sparticuz/chromium')
  return unpacked('swiftshader', () => inflate(join(archives, 'swiftshader.tar.br')))
}

function environment(folder: string): Required<VulkanEnv> {
  return {
    LD_LIBRARY_PATH: folder,
    VK_ICD_FILENAMES: join(folder, 'vk_swiftshader_icd.json'),
  }
}
