// The backend of a worker's compressors.
import { type Backend, UnsupportedError, wasm } from 'lowrank'
import { webgpu } from 'lowrank/webgpu'
import type { Task } from './protocol.ts'

/** @throws UnsupportedError  if this machine does not have the backend, with the reason */
export async function openBackend({
  backend,
  software,
  worker,
}: Task): Promise<Backend & { dispose?(): void }> {
  if (backend === 'wasm' || (backend === 'mixed' && worker % 2 === 0)) return wasm()
  if (software) {
    const { useSoftwareVulkan } = await import('../../scripts/swiftshader.ts')
    const missing = await useSoftwareVulkan()
    if (missing) throw new UnsupportedError(missing)
    return webgpu({ software })
  }
  try {
    return await webgpu()
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error
    throw new UnsupportedError(`${error.message}; --software takes the CPU for a GPU`)
  }
}
