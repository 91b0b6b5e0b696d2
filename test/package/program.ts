// A program as users write them. types.test.ts compiles a copy of it against the packed
// declarations.
import { aggregate, type Compressor, createCompressor, createSgd, plan } from 'lowrank'
import { createAggregate, inspect, joinSlices, splitFrame } from 'lowrank/frames'
import { createLayout, createWasmKernels, svd, wasm } from 'lowrank/kernels'
import { best, DeviceLostError, type GpuTensor, webgpu } from 'lowrank/webgpu'

const shapes = [[16, 12], [16], { shape: [3, 3, 2, 8], rows: 9, compress: false }]

export async function train(gradients: Float32Array[]): Promise<number> {
  const compressor: Compressor = await createCompressor(shapes, { rank: 2, wire: 'bf16' })
  const sgd = await createSgd(compressor, { learningRate: 0.1 })
  let frame: Uint8Array | null = await compressor.compress(gradients, { weight: 2 })
  while (frame) frame = await compressor.receive(aggregate([frame]))
  const { counted, senders } = await compressor.decompress(gradients)
  sgd.apply(gradients, gradients)
  compressor.dispose()
  return counted ? senders.length : plan(shapes).bytes
}

export function carry(frame: Uint8Array): string {
  const server = createAggregate()
  server.add(joinSlices(splitFrame(frame, 1 << 14)))
  return inspect(server.result()).parent
}

export async function kernels(m: Float32Array): Promise<readonly unknown[]> {
  const session = await wasm().open(createLayout(shapes))
  return [session.synchronous, await svd(await createWasmKernels(), m, 16, 12, 2)]
}

export async function onGpu(tensors: GpuTensor[]): Promise<string | number | null> {
  const { name, reason, device } = await best()
  if (device === null) return `${name}: ${reason}`
  const backend = await webgpu({ device })
  const compressor = await createCompressor(shapes, { backend, orthonormalize: 'device' })
  try {
    await compressor.step(tensors, async (frame) => frame, { into: tensors })
    return null
  } catch (error) {
    return error instanceof DeviceLostError ? error.savedStep : String(error)
  }
}

/** Calls that the declarations must refuse; else they were not found, and everything is `any`. */
export function wrong(): unknown {
  // @ts-expect-error: a number
  const compressor = createCompressor(shapes, { rank: 'four' })
  // @ts-expect-error: bytes
  const inspected = inspect('frame')
  // @ts-expect-error: one of two types
  const tensor: GpuTensor = { buffer: {} as never, type: 'f64' }
  // @ts-expect-error: an array
  return [tensor, compressor, inspected, createLayout(16)]
}
