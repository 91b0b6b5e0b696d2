// Callers' tensors on a device, laid out in every way that the library takes.

import type { GpuTensor, Tensor } from '../../../src/backend.ts'
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
    if (type === 'f32') new Float32Array(bytes.buffer).set(array)
    else new Uint16Array(bytes.buffer).set(Array.from(array, halfOf))
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
    const bytes = seen.get(buffer)!.slice(offset, offset + width * length)
    const into =
      type === 'f32'
        ? new Float32Array(bytes.buffer)
        : Float32Array.from(new Uint16Array(bytes.buffer), floatOf)
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

/** The float16 nearest to a number, ties to even; finite numbers saturate at ±65504. */
function halfOf(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0
  const size = Math.abs(x)
  if (!(size < Number.POSITIVE_INFINITY)) return sign | (Number.isNaN(x) ? 0x7e00 : 0x7c00)
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.min(size, 65504))))
  const units = Math.min(size, 65504) / 2 ** (exponent - 10)
  const whole = Math.floor(units)
  const rest = units - whole
  const up = rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? 1 : 0
  return sign | (whole + up + 1024 * Math.max(0, exponent + 14)) // the carry raises the exponent
}

function floatOf(half: number): number {
  const exponent = (half >> 10) & 31
  const mantissa = half & 1023
  const size = exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25)
  return half & 0x8000 ? -size : size
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
