/** The device, as if its buffers could not be larger. */
export function small(device: GPUDevice, bytes: number): GPUDevice {
  const limits = { maxStorageBufferBindingSize: bytes, maxBufferSize: bytes }
  const handler: ProxyHandler<GPUDevice> = {
    get(target, key) {
      if (key === 'limits') {
        return new Proxy(target.limits, {
          get: (all, name) => limits[name as keyof typeof limits] ?? Reflect.get(all, name, all),
        })
      }
      const value = Reflect.get(target, key, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  }
  return new Proxy(device, handler)
}
