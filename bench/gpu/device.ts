// The measured device, and its adapter's description.

/** The adapter as reports show it. */
export interface Adapter {
  readonly vendor: string
  readonly architecture: string
  readonly device: string
  /** often with the driver's name and version */
  readonly description: string
  /** true: a CPU plays the GPU, and its times are meaningless */
  readonly software: boolean
  readonly features: readonly string[]
  /**
   * of the adapter; the device has its limits for sizes of buffers, and WebGPU's defaults for the
   * others
   */
  readonly limits: Readonly<Record<string, number>>
}

export interface Opened {
  readonly device: GPUDevice
  readonly adapter: Adapter
  /** @throws Error  if anything has gone wrong on the device since it was opened */
  check(): void
}

/** Names of software adapters: some do not say otherwise that they are software. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|softpipe|softwarerasterizer|basic render|warp\b/i

/** @throws Error  if there is no adapter */
export async function openDevice(gpu: GPU): Promise<Opened> {
  const found = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (!found) throw new Error('WebGPU finds no adapter here: a GPU and its driver are needed')
  const { maxBufferSize, maxStorageBufferBindingSize } = found.limits
  const device = await found.requestDevice({
    requiredFeatures: found.features.has('timestamp-query') ? ['timestamp-query'] : [],
    requiredLimits: { maxBufferSize, maxStorageBufferBindingSize },
  })
  const errors: string[] = []
  device.addEventListener('uncapturederror', ({ error }) => errors.push(error.message))
  device.lost.then(({ reason, message }) => {
    if (reason !== 'destroyed') errors.push(`the device was lost: ${message}`)
  })
  return {
    device,
    adapter: describe(found),
    check() {
      if (errors.length > 0) throw new Error(errors.join('\n'))
    },
  }
}

export function nameOf({ vendor, architecture, description, device, software }: Adapter): string {
  const name = [...new Set([vendor, architecture, description || device])]
    .filter(Boolean)
    .join(', ')
  return software ? `${name} (software: its times are meaningless)` : name
}

function describe({ info, features, limits }: GPUAdapter): Adapter {
  const { vendor, architecture, device, description } = info
  const numbers: Record<string, number> = {}
  for (const name in limits) {
    const value = limits[name as keyof GPUSupportedLimits]
    if (typeof value === 'number') numbers[name] = value
  }
  return {
    vendor,
    architecture,
    device,
    description,
    software: info.isFallbackAdapter || SOFTWARE.test([architecture, device, description].join()),
    features: [...features].sort(),
    limits: numbers,
  }
}
