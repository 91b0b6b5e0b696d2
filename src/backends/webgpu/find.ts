// Finding a device: in browsers and Deno by navigator.gpu, in Node by the optional package `webgpu`.
import { UnsupportedError } from '../../errors.ts'

/** The parts of Node's `process` that are used here, if there is one. */
const { process } = globalThis as {
  process?: {
    cwd(): string
    getBuiltinModule?(name: 'node:module'): {
      createRequire(from: string): (name: 'webgpu') => { create(options: string[]): GPU }
    }
  }
}

/** Devices that this file has opened, and what is known of them. */
export interface FoundDevice {
  readonly device: GPUDevice
  /** as the driver calls itself */
  readonly description: string
}

/**
 * The result of `create` of the package `webgpu`. It is kept for good: when it is collected as garbage,
 * the process dies (0.6.2, on every Node tried).
 */
let ofNode: GPU | undefined

/**
 * Opens a device on the adapter that the platform thinks fastest, with as large buffers as it has.
 *
 * @param software  whether an adapter will do that computes on the CPU
 * @throws UnsupportedError  saying what is missing, and what to do
 */
export async function findDevice(software: boolean): Promise<FoundDevice> {
  const adapter = await gpu().requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter) {
    throw new UnsupportedError(
      'WebGPU finds no adapter here: it needs a GPU with a driver for Vulkan, Metal or Direct3D 12' +
        (inNode() ? '' : ', and in some browsers has to be switched on'),
    )
  }
  const description = describe(adapter)
  if (!software && isSoftware(adapter)) {
    throw new UnsupportedError(
      `the only WebGPU adapter here computes on the CPU (${description}), slower than wasm() does: ` +
        'webgpu({ software: true }) takes it all the same',
    )
  }
  const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits
  try {
    const device = await adapter.requestDevice({
      label: 'lowrank',
      requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
    })
    return { device, description }
  } catch (cause) {
    throw new UnsupportedError(
      `the WebGPU adapter here (${description}) gives no device: ${(cause as Error).message}`,
      { cause },
    )
  }
}

function gpu(): GPU {
  const here = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu ?? ofNode
  if (here) return here
  if (!inNode()) {
    throw new UnsupportedError(
      'this runtime has no WebGPU (no navigator.gpu): in browsers it needs a secure context, https ' +
        'or localhost, and a version that has it; in Deno the flag --unstable-webgpu',
    )
  }
  try {
    // Not import(): bundlers would look for the package, and some cannot build it into workers.
    const { createRequire } = process!.getBuiltinModule!('node:module')
    // Where this has been bundled as CommonJS it has no address.
    const from = import.meta.url ?? `${process!.cwd()}/`
    ofNode = createRequire(from)('webgpu').create([])
  } catch (cause) {
    throw new UnsupportedError(
      'WebGPU in Node comes from the package `webgpu`, which cannot be loaded: npm install webgpu',
      { cause },
    )
  }
  return ofNode
}

function inNode(): boolean {
  return process?.getBuiltinModule !== undefined
}

function isSoftware(adapter: GPUAdapter): boolean {
  const { info, isFallbackAdapter } = adapter as GPUAdapter & { isFallbackAdapter?: boolean }
  if (info?.isFallbackAdapter ?? isFallbackAdapter) return true
  return /swiftshader|llvmpipe|lavapipe|softpipe|basic render|\bwarp\b/i.test(describe(adapter))
}

function describe({ info }: GPUAdapter): string {
  const parts = [info?.vendor, info?.architecture, info?.device, info?.description]
  return parts.filter((part) => part).join(' ') || 'no description'
}
