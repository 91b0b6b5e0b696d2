// A GPU for tests, wherever they run: Node, or bundled in browsers and Deno.

export interface Wishes {
  /** beyond the default limits */
  readonly limits?: Readonly<Record<string, number>>
  readonly features?: readonly GPUFeatureName[]
}

/** The values of GPUBufferUsage and GPUMapMode, which are no globals in Node. */
export const USAGE = {
  MAP_READ: 0x0001,
  MAP_WRITE: 0x0002,
  COPY_SRC: 0x0004,
  COPY_DST: 0x0008,
  UNIFORM: 0x0040,
  STORAGE: 0x0080,
  INDIRECT: 0x0100,
  QUERY_RESOLVE: 0x0200,
} as const
export const MAP = { READ: 1, WRITE: 2 } as const

/**
 * A new device, with default limits and no features unless asked for; or the reason why there is
 * none. An error that no scope catches is thrown where nobody can catch it: the test file fails.
 */
export async function openDevice({
  limits = {},
  features = [],
}: Wishes = {}): Promise<GPUDevice | string> {
  const gpu = await findGpu()
  if (typeof gpu === 'string') return gpu
  const adapter = await gpu.requestAdapter()
  if (!adapter) return 'WebGPU has no adapter here'
  const named = `the adapter ${adapter.info.vendor} ${adapter.info.architecture}`
  for (const feature of features) {
    if (!adapter.features.has(feature)) return `${named} has no ${feature}`
  }
  for (const [limit, value] of Object.entries(limits)) {
    const has = (adapter.limits as unknown as Record<string, number>)[limit]!
    if (limit.startsWith('max') && has < value) return `${named} has ${limit} ${has}, not ${value}`
  }
  const device = await adapter.requestDevice({
    requiredFeatures: features,
    requiredLimits: limits,
  })
  device.addEventListener('uncapturederror', ({ error }) => {
    throw new Error(`WebGPU: ${error.message}`)
  })
  return device
}

async function findGpu(): Promise<GPU | string> {
  const gpu = globalThis.navigator?.gpu
  if (gpu) return gpu
  // Bundles have no files beside them, and run where it must be a global.
  if (!import.meta.url.endsWith('/device.ts')) return 'navigator.gpu is not there'
  const node = new URL('./node.ts', import.meta.url).href // not for the bundler to follow
  const { nodeGpu } = (await import(node)) as typeof import('./node.ts')
  return nodeGpu()
}
