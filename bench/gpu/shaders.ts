// The bench's own shaders: one entry point as a pass, and buffers full of noise.

/** Workgroups along x and y. */
export type Groups = readonly [x: number, y?: number]

/** Records a pass into an encoder. */
export type Pass = (
  encoder: GPUCommandEncoder,
  bindings: ReadonlyMap<number, GPUBufferBinding>,
) => void

/**
 * Groups for so many workgroups. If they exceed one dimension, a few more are dispatched, which
 * find nothing to do.
 */
export function groupsOf({ limits }: GPUDevice, groups: number): Groups {
  const x = Math.min(groups, limits.maxComputeWorkgroupsPerDimension)
  return [x, Math.ceil(groups / x)]
}

/** @param times  dispatches in the pass */
export async function createPass(
  device: GPUDevice,
  code: string,
  entryPoint: string,
  constants: Readonly<Record<string, number>>,
  [x, y = 1]: Groups,
  times = 1,
): Promise<Pass> {
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code }), entryPoint, constants },
  })
  return (encoder, bindings) => {
    const entries = [...bindings].map(([binding, resource]) => ({ binding, resource }))
    const pass = encoder.beginComputePass({ label: entryPoint })
    pass.setPipeline(pipeline)
    pass.setBindGroup(
      0,
      device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }),
    )
    for (let i = 0; i < times; i++) pass.dispatchWorkgroups(x, y)
    pass.end()
  }
}

/** Uniform in ±0.5, by PCG's output function (O'Neill 2014) on the element's number. */
const NOISE = `
override seed: u32;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(256)
fn noise(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
         @builtin(local_invocation_index) thread: u32) {
  let i = (group.y * groups.x + group.x) * 256u + thread;
  if (i >= arrayLength(&x)) {
    return;
  }
  let state = (i ^ seed) * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  x[i] = f32((word >> 22u) ^ word) / 4294967296.0 - 0.5;
}
`

/**
 * Fills a buffer with noise, window by window.
 *
 * @param first  a number of its own for every buffer, from which its seeds follow
 */
export async function fill(device: GPUDevice, buffer: GPUBuffer, first: number): Promise<void> {
  const most = device.limits.maxStorageBufferBindingSize
  const window = most - (most % device.limits.minStorageBufferOffsetAlignment)
  let seed = Math.imul(first + 1, 0x9e3779b9) >>> 0
  for (let offset = 0; offset < buffer.size; offset += window) {
    const size = Math.min(window, buffer.size - offset)
    const groups = groupsOf(device, Math.ceil(size / 4 / 256))
    const run = await createPass(device, NOISE, 'noise', { seed: seed++ }, groups)
    const encoder = device.createCommandEncoder()
    run(encoder, new Map([[0, { buffer, offset, size }]]))
    device.queue.submit([encoder.finish()])
  }
}
