// Which Vulkan tests take.
//
//   LOWRANK_GPU=software     default: SwiftShader, whatever GPU there is
//   LOWRANK_GPU=hardware     the system's Vulkan, in Node, Deno and Firefox; Chromium keeps its own
import { softwareVulkanEnv, type VulkanEnv } from '../../../scripts/swiftshader.ts'

const wanted = process.env.LOWRANK_GPU ?? 'software'
if (wanted !== 'software' && wanted !== 'hardware')
  throw new RangeError(`LOWRANK_GPU: expected software or hardware, got ${wanted}`)

/** Whether tests shall take a real GPU. */
export const hardware = wanted === 'hardware'

/** Environment variables for child processes: none for hardware. Or why there is no SwiftShader. */
export async function vulkanEnv(): Promise<VulkanEnv | string> {
  return hardware ? {} : softwareVulkanEnv()
}
