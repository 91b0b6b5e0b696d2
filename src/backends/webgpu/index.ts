// The backend on WebGPU: gradients on the GPU stay there, and only factors cross the bus.

import type { Backend } from '../../backend.ts'
import { UnsupportedError } from '../../errors.ts'
import { flag, knownOptions, wrongType } from '../../validate.ts'
import { findDevice } from './find.ts'
import { Gpu } from './gpu.ts'
import { WebgpuSession } from './session.ts'

/** Which device. */
export interface WebgpuOptions {
  /**
   * The caller's own GPUDevice, on which its tensors are: any limits and features will do. It is never
   * destroyed here. Default: one that is opened here, on the fastest adapter.
   */
  readonly device?: GpuDevice
  /** true: an adapter will do that computes on the CPU. For tests: `wasm()` is faster. Default false. */
  readonly software?: boolean
}

/** WebGPU's GPUDevice, for programs that know that type. */
export type GpuDevice = typeof globalThis extends { GPUDevice: { prototype: infer T } } ? T : object

/** A device that compressors compute on; several may share it. */
export interface WebgpuBackend extends Backend {
  readonly name: 'webgpu'
  /** where tensors must lie */
  readonly device: GpuDevice
  /** how the adapter calls itself */
  readonly description: string
  /** Destroys the device if it was opened here; after its compressors have been disposed of. */
  dispose(): void
}

/**
 * The kernels on a GPU: in browsers, in Deno, and in Node with the package `webgpu` installed.
 *
 * Gradients and parameters may be GPU buffers, see `GpuTensor`, or arrays. A call uses a caller's
 * buffers until its promise settles, and keeps none.
 *
 * @throws TypeError  naming the option at fault
 * @throws UnsupportedError  if there is no such device here, saying why
 */
export async function webgpu(options: WebgpuOptions = {}): Promise<WebgpuBackend> {
  const { device, software = false } = knownOptions(options, ['device', 'software'])
  flag('software', software)
  if (device === undefined) {
    const found = await findDevice(software)
    return backendOn(found.device, found.description, () => found.device.destroy())
  }
  if (typeof (device as GPUDevice)?.createBuffer !== 'function') {
    throw wrongType('device', 'a GPUDevice', device)
  }
  return backendOn(device as GPUDevice, "the caller's device", () => undefined)
}

function backendOn(device: GPUDevice, description: string, dispose: () => void): WebgpuBackend {
  return {
    name: 'webgpu',
    device,
    description,
    async open(layout, { resident = false } = {}) {
      if (resident) {
        throw new UnsupportedError(
          '"resident": only wasm() has gradients of its own: with webgpu(), give your GPU buffers',
        )
      }
      return WebgpuSession.open(Gpu.of(device), layout)
    },
    dispose,
  }
}
