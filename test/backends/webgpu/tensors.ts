// Callers' tensors on a device, laid out in every way that the library takes.

import type { GpuTensor, Tensor } from '../../../src/backend.ts'
import { wireType } from '../../../src/codec/wire/index.ts'
import { USAGE } from './device.ts'

/** 'unaligned': in one buffer, but with a float before each, so that nothing begins at a multiple of 16. */
export type Laying = 'arrays' | 'one buffer' | 'scattered' | 'unaligned'
export type Kind = NonNullable<GpuTensor['type']>

/** Fills the space between tensors, and must still be there afterwards. */
const GUARD = 0x7e57

/** Copies arrays to the device: tensors, in the layout asked for. */
export function layTensors(
  device: GPUDevice,
  arrays: readonly Float32Array[],
  laying: Laying,
  type: Kind,
): Tensor[] {
  if (laying === 'arrays') return [...arrays]
  const size = (array: Float32Array) => 4 * Math.ceil((array.length * (type === 'f16' ? 2 : 4)) / 4)
  const offsets: number[] = []
  let end = 0
  for (const array of arrays) {
    if (laying === 'scattered') end = 0
    else if (laying === 'unaligned') end += 4
    else end = 16 * Math.ceil((end + 1) / 16)
    offsets.push(laying === 'scattered' ? 8 : end)
    end += size(array)
  }
  const usage = USAGE.COPY_SRC | USAGE.COPY_DST | (laying === 'scattered' ? 0 : USAGE.STORAGE)
  const make = (bytes: number) => {
    const buffer = device.createBuffer({ label: laying, size: 4 * Math.ceil(bytes / 4), usage })
    device.queue.writeBuffer(buffer, 0, new Uint16Array(buffer.size / 2).fill(GUARD))
    return buffer
  }
  const common = laying === 'scattered' ? null : make(end + 16)
  return arrays.map((array, i) => {
    const buffer = common ?? make(8 + size(array) + 8)
    const offset = offsets[i]!
    const bytes = new Uint8Array(size(array)).fill(0)
    new Uint16Array(bytes.buffer).fill(GUARD)
    wireType(type).encode(
      array,
      [array.length],
      bytes.subarray(0, array.length * (type === 'f16' ? 2 : 4)),
    )
    device.queue.writeBuffer(buffer, offset, bytes)
    return { buffer, offset, type }
  })
}

/** The tensors' numbers; fails if anything beside them is not what it was. */
export async function readTensors(
  device: GPUDevice,
  tensors: readonly Tensor[],
  arrays: readonly Float32Array[],
  type: Kind,
): Promise<Float32Array[]> {
  const seen = new Map<unknown, Uint8Array>()
  const beside = new Map<unknown, Uint8Array>()
  for (const tensor of tensors) {
    if (tensor instanceof Float32Array || seen.has(tensor.buffer)) continue
    const bytes = await bytesIn(device, tensor.buffer as GPUBuffer)
    seen.set(tensor.buffer, bytes)
    beside.set(tensor.buffer, bytes.slice())
  }
  const values = tensors.map((tensor, i) => {
    const { length } = arrays[i]!
    if (tensor instanceof Float32Array) return tensor
    const { buffer, offset = 0 } = tensor
    const width = type === 'f16' ? 2 : 4
    const into = new Float32Array(length)
    wireType(type).decode(seen.get(buffer)!.slice(offset, offset + width * length), length, into)
    new Uint16Array(beside.get(buffer)!.buffer, offset, (width / 2) * length).fill(GUARD)
    return into
  })
  for (const bytes of beside.values()) {
    const words = new Uint16Array(bytes.buffer)
    const at = words.findIndex((word) => word !== GUARD)
    if (at >= 0) throw new Error(`2 bytes at ${2 * at}, beside the tensors, were written`)
  }
  return values
}

async function bytesIn(device: GPUDevice, buffer: GPUBuffer): Promise<Uint8Array<ArrayBuffer>> {
  const usage = USAGE.COPY_DST | USAGE.MAP_READ
  const copy = device.createBuffer({ label: 'copy', size: buffer.size, usage })
  const encoder = device.createCommandEncoder()
  encoder.copyBufferToBuffer(buffer, 0, copy, 0, buffer.size)
  device.queue.submit([encoder.finish()])
  await copy.mapAsync(1)
  const bytes = new Uint8Array(copy.getMappedRange().slice(0))
  copy.destroy()
  return bytes
}
