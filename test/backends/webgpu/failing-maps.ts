// A fault that cannot be produced otherwise: a readback that fails once.

/** Lets mapAsync of a device's buffers fail when it is called for the `fail`-th time from now. */
export function failingMaps(device: GPUDevice): { fail: number } {
  const state = { fail: 0 }
  const create = device.createBuffer.bind(device)
  device.createBuffer = (descriptor) => {
    const buffer = create(descriptor)
    const map = buffer.mapAsync.bind(buffer)
    buffer.mapAsync = (...range) =>
      state.fail > 0 && --state.fail === 0 ? Promise.reject(new Error('planted')) : map(...range)
    return buffer
  }
  return state
}
