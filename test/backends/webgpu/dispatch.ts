// One dispatch of one shader on fresh buffers, for tests of shaders by themselves.
import * as assert from 'uvu/assert'
import { SHADERS, type ShaderName } from '../../../src/backends/webgpu/shaders.ts'
import { MAP, USAGE } from './device.ts'

export type Words = Float32Array | Uint32Array

/** Words behind every buffer that the shader must leave alone; as floats, they are NaN. */
const GUARDS = 64
const GUARD = 0xffff_dead

/** A shader's uniform and workgroups. */
export interface Call {
  /** binding 0, as `pack` of structs.ts makes it */
  readonly uniform: Uint32Array
  /** workgroups; if one number, in one row */
  readonly groups: number | readonly [number, number]
}

const pipelines = new WeakMap<GPUDevice, Map<string, Promise<GPUComputePipeline>>>()

/**
 * Runs a shader whose bindings are a uniform and then these arrays, and returns what is in them
 * afterwards. Each lies before guards that must survive.
 */
export async function dispatch<const T extends readonly Words[]>(
  device: GPUDevice,
  name: ShaderName,
  arrays: T,
  { uniform, groups }: Call,
): Promise<{ [K in keyof T]: T[K] }> {
  const pipeline = await pipelineOf(device, name)
  device.pushErrorScope('validation')
  const made: GPUBuffer[] = []
  const make = (data: Uint32Array<ArrayBuffer>, usage: number): GPUBuffer => {
    const buffer = device.createBuffer({ size: data.byteLength, usage: usage | USAGE.COPY_DST })
    device.queue.writeBuffer(buffer, 0, data)
    made.push(buffer)
    return buffer
  }
  const storage = arrays.map((array) => make(guarded(array), USAGE.STORAGE | USAGE.COPY_SRC))
  const bound = [make(uniformOf(uniform), USAGE.UNIFORM), ...storage]
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass({ label: name })
  pass.setPipeline(pipeline)
  const entries = bound.map((buffer, binding) => ({ binding, resource: { buffer } }))
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
  const [x, y] = typeof groups === 'number' ? [groups, 1] : groups
  pass.dispatchWorkgroups(x, y)
  pass.end()
  const results = storage.map(({ size }) =>
    device.createBuffer({ size, usage: USAGE.MAP_READ | USAGE.COPY_DST }),
  )
  for (const [i, result] of results.entries()) {
    encoder.copyBufferToBuffer(storage[i]!, 0, result, 0, result.size)
  }
  device.queue.submit([encoder.finish()])
  assert.is((await device.popErrorScope())?.message, undefined, name)
  await Promise.all(results.map((result) => result.mapAsync(MAP.READ)))
  const words = results.map((result) => new Uint32Array(result.getMappedRange().slice(0)))
  for (const buffer of [...made, ...results]) buffer.destroy()
  return words.map((all, i) => {
    const { length } = arrays[i]!
    const guards = all.subarray(length)
    assert.ok(
      guards.every((word) => word === GUARD),
      `${name}: writes past binding ${i + 1}`,
    )
    const own = all.slice(0, length)
    return arrays[i] instanceof Float32Array ? new Float32Array(own.buffer) : own
  }) as { [K in keyof T]: T[K] }
}

/** A shader of the folder, compiled once per device. */
export function pipelineOf(device: GPUDevice, name: ShaderName): Promise<GPUComputePipeline> {
  const own = pipelines.get(device) ?? new Map<string, Promise<GPUComputePipeline>>()
  pipelines.set(device, own)
  const found = own.get(name) ?? compile(device, name)
  own.set(name, found)
  return found
}

function compile(device: GPUDevice, name: ShaderName): Promise<GPUComputePipeline> {
  return device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code: SHADERS[name] }), entryPoint: name },
  })
}

function guarded(array: Words): Uint32Array<ArrayBuffer> {
  const all = new Uint32Array(array.length + GUARDS).fill(GUARD)
  all.set(new Uint32Array(array.buffer, array.byteOffset, array.length))
  return all
}

/** In whole groups of four words. */
function uniformOf(words: Uint32Array): Uint32Array<ArrayBuffer> {
  const all = new Uint32Array(Math.ceil(words.length / 4) * 4)
  all.set(words)
  return all
}
