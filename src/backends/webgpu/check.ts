// Checks that a caller's value is a tensor on the GPU.
import type { GpuTensor } from '../../backend.ts'
import { wrongType, wrongValue } from '../../validate.ts'
import { bytesPer } from './bindings.ts'

/**
 * @param length  elements that it must have
 * @param name  how errors call it
 * @throws TypeError, RangeError
 */
export function checkTensor(tensor: unknown, length: number, name: string): void {
  const isTensor = typeof tensor === 'object' && tensor !== null && 'buffer' in tensor
  if (!isTensor || ArrayBuffer.isView(tensor)) {
    throw wrongType(name, 'a Float32Array or { buffer: a GPUBuffer }', tensor)
  }
  const { buffer, offset = 0, type = 'f32' } = tensor as GpuTensor
  // Not instanceof: in Node the class is nowhere to be had.
  const { size, usage } = (buffer ?? {}) as Partial<GPUBuffer>
  if (typeof size !== 'number' || typeof usage !== 'number') {
    throw wrongType(`${name}.buffer`, 'a GPUBuffer', buffer)
  }
  if (type !== 'f32' && type !== 'f16') {
    throw wrongValue(`${name}.type`, "'f32' or 'f16'", type)
  }
  if (!Number.isInteger(offset) || offset < 0 || offset % 4 !== 0) {
    throw wrongValue(`${name}.offset`, 'a multiple of 4 bytes', offset)
  }
  const end = offset + 4 * Math.ceil((length * bytesPer(type)) / 4)
  if (end > size) {
    throw new RangeError(
      `"${name}.buffer": expected ${end} bytes or more, for ${length} numbers (${type}) from ` +
        `${offset} on, got ${size}`,
    )
  }
}
