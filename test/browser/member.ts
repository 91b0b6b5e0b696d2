// One worker of a fleet of several backends: the same program in Node and in the browser, on the
// built package. It hashes the state that all workers must share bit by bit, where its backend
// keeps it.
import { type Backend, createCompressor, type Tensor, wasm } from 'lowrank'
import { webgpu } from 'lowrank/webgpu'

/** One worker's part in the fleet, as JSON. */
export interface Part {
  readonly sender: number
  readonly on: 'wasm' | 'webgpu'
  readonly shapes: readonly (readonly number[])[]
  readonly rank: number
  readonly steps: number
  /** a step in which one bit of P̂ goes wrong: the others must notice */
  readonly spoiled: number | null
  /** this URL answers a POST of a frame with the round's mean */
  readonly url: string
}

/** The slots that are equal on all workers, in the order of `Report.shared`. */
export const SHARED = ['left', 'qHat', 'qMean'] as const

export interface Report {
  /** by step, then by slot of SHARED: SHA-256 of what the session held when the step was settled */
  readonly shared: readonly (readonly string[])[]
  /** bits of the parameters, one array each */
  readonly parameters: readonly (readonly number[])[]
}

/** This worker's parameters and their gradients, in its backend's memory. */
interface Model {
  readonly parameters: readonly Tensor[]
  readonly gradients: readonly Tensor[]
  /** gradients ← x³ − target, for every parameter x */
  differentiate(): void
  read(): Promise<Float32Array[]>
}

const SCALE = -0.1 // minus the learning rate

/** Trains, with all others, towards the cube roots of the mean of their targets. */
export async function takePart(part: Part): Promise<Report> {
  const { sender, on, shapes, rank, steps, spoiled, url } = part
  const targets = shapes.map((shape, i) =>
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, j) => targetOf(sender, i, j)),
  )
  const gpu = on === 'webgpu' ? await webgpu({ software: true }) : null
  const model = gpu ? onGpu(gpu.device as GPUDevice, targets) : inArrays(targets)
  const { backend, shared } = watched(gpu ?? wasm(), spoiled)
  const compressor = await createCompressor(shapes, { rank, seed: 7, sender, backend })
  for (let step = 0; step < steps; step++) {
    model.differentiate()
    let frame: Uint8Array | null = await compressor.compress(model.gradients)
    while (frame) frame = await compressor.receive(await exchange(url, frame))
    await compressor.decompress(model.parameters, { scale: SCALE, accumulate: true })
  }
  const parameters = (await model.read()).map((x) => [...new Uint32Array(x.buffer)])
  compressor.dispose()
  gpu?.dispose()
  return { shared: await Promise.all(shared), parameters }
}

async function exchange(url: string, frame: Uint8Array): Promise<Uint8Array> {
  const response = await fetch(url, { method: 'POST', body: frame.slice() })
  if (!response.ok) throw new Error(await response.text())
  return new Uint8Array(await response.arrayBuffer())
}

/** The same backend; it hashes the slots of SHARED before a session settles. */
function watched(of: Backend, spoiled: number | null) {
  const shared: Promise<string[]>[] = []
  const backend: Backend = {
    name: of.name,
    async open(layout, wishes) {
      const session = await of.open(layout, wishes)
      const write = session.write.bind(session)
      session.write = (slot, values) => {
        const given = values.slice()
        if (slot === 'left' && shared.length === spoiled) given[3]! ^= 0x80 // a sign
        write(slot, given)
      }
      const settle = session.settle.bind(session)
      const { leftFloats, rightFloats } = layout
      session.settle = async (...how) => {
        const values = new Float32Array(leftFloats + 2 * rightFloats)
        await session.read(SHARED, values)
        const ends = [leftFloats, leftFloats + rightFloats, values.length]
        shared.push(Promise.all(ends.map((end, i) => sha256(values.slice(ends[i - 1] ?? 0, end)))))
        await settle(...how)
      }
      return session
    },
  }
  return { backend, shared }
}

async function sha256(values: Float32Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', values))
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function inArrays(targets: readonly Float32Array[]): Model {
  const parameters = targets.map(({ length }) => new Float32Array(length))
  const gradients = targets.map(({ length }) => new Float32Array(length))
  return {
    parameters,
    gradients,
    differentiate() {
      for (const [i, gradient] of gradients.entries()) {
        for (let j = 0; j < gradient.length; j++) {
          gradient[j] = parameters[i]![j]! ** 3 - targets[i]![j]!
        }
      }
    },
    read: async () => parameters,
  }
}

const DIFFERENTIATE = `
  @group(0) @binding(0) var<storage, read_write> gradient: array<f32>;
  @group(0) @binding(1) var<storage> x: array<f32>;
  @group(0) @binding(2) var<storage> goal: array<f32>;

  @compute @workgroup_size(64)
  fn differentiate(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x;
    if (i < arrayLength(&x)) { gradient[i] = x[i] * x[i] * x[i] - goal[i]; }
  }`

/** All parameters lie in one buffer, one after another, and so do their gradients. */
function onGpu(device: GPUDevice, targets: readonly Float32Array[]): Model {
  const floats = targets.reduce((sum, { length }) => sum + length, 0)
  const size = 4 * floats
  // GPUBufferUsage is no global in Node: MAP_READ 1, COPY_SRC 4, COPY_DST 8, STORAGE 128.
  const make = () => device.createBuffer({ size, usage: 4 | 8 | 128 })
  const [x, gradient, goals] = [make(), make(), make()]
  const tensors = (buffer: GPUBuffer): Tensor[] => {
    let end = 0
    return targets.map(({ length }) => {
      const offset = end
      end += 4 * length
      return { buffer, offset }
    })
  }
  for (const [i, { offset }] of (tensors(goals) as { offset: number }[]).entries()) {
    device.queue.writeBuffer(goals, offset, targets[i] as Float32Array<ArrayBuffer>)
  }
  const pipeline = device.createComputePipeline({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code: DIFFERENTIATE }) },
  })
  const entries = [gradient, x, goals].map((buffer, binding) => ({ binding, resource: { buffer } }))
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries })
  return {
    parameters: tensors(x),
    gradients: tensors(gradient),
    differentiate() {
      const encoder = device.createCommandEncoder()
      const pass = encoder.beginComputePass()
      pass.setPipeline(pipeline)
      pass.setBindGroup(0, group)
      pass.dispatchWorkgroups(Math.ceil(floats / 64))
      pass.end()
      device.queue.submit([encoder.finish()])
    },
    async read() {
      const copy = device.createBuffer({ size, usage: 1 | 8 })
      const encoder = device.createCommandEncoder()
      encoder.copyBufferToBuffer(x, 0, copy, 0, size)
      device.queue.submit([encoder.finish()])
      await copy.mapAsync(1)
      const all = copy.getMappedRange().slice(0)
      let at = 0
      return targets.map(({ length }) => {
        const values = new Float32Array(all.slice(at, at + 4 * length))
        at += 4 * length
        return values
      })
    },
  }
}

/** Some number from −1 to 1, by integers alone. */
export function targetOf(sender: number, parameter: number, index: number): number {
  const mixed = Math.imul((sender + 1) * 7919 + parameter * 104729 + index, 0x9e3779b1)
  return (mixed >> 8) / 2 ** 23
}
