// The yardsticks: how fast the device copies and streams, and the cost of any request to it.
import { byEffort, type Settings } from '../effort.ts'
import { statistics, withRatios } from '../measure.ts'
import type { Row } from '../results.ts'
import { MIXES, type Mix } from '../stream.ts'
import type { Clock } from './clock.ts'
import { sample } from './samples.ts'
import { createPass, fill, groupsOf } from './shaders.ts'

/** The name of the row that is the yardstick of all others. */
export const COPY = 'copy'

/** Numbers of vec4s for each thread; the fastest counts. */
const PER_THREAD = [1, 4, 16]

const PROBES = `
override perThread: u32;
@group(0) @binding(0) var<storage, read_write> m: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;

// Neighbouring threads take neighbouring vec4s, 256 at a time.
fn first(group: vec3u, groups: vec3u, thread: u32) -> u32 {
  return (group.y * groups.x + group.x) * 256u * perThread + thread;
}

@compute @workgroup_size(256)
fn copyAll(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) thread: u32) {
  var i = first(group, groups, thread);
  for (var k = 0u; k < perThread && i < arrayLength(&x); k++) {
    y[i] = x[i];
    i += 256u;
  }
}

@compute @workgroup_size(256)
fn readAll(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) thread: u32) {
  var i = first(group, groups, thread);
  var sum = vec4f();
  for (var k = 0u; k < perThread && i < arrayLength(&x); k++) {
    sum += x[i];
    i += 256u;
  }
  // Never so, but no compiler knows: the values are within 0.5 of 0.
  if (sum.x == 1e30) {
    y[thread] = sum;
  }
}

@compute @workgroup_size(256)
fn writeAll(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(local_invocation_index) thread: u32) {
  var i = first(group, groups, thread);
  for (var k = 0u; k < perThread && i < arrayLength(&y); k++) {
    y[i] = vec4f(f32(k));
    i += 256u;
  }
}

@compute @workgroup_size(256)
fn updateAll(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_index) thread: u32) {
  var i = first(group, groups, thread);
  for (var k = 0u; k < perThread && i < arrayLength(&m); k++) {
    m[i] = -m[i];
    i += 256u;
  }
}

@compute @workgroup_size(256)
fn accumulateAll(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                 @builtin(local_invocation_index) thread: u32) {
  var i = first(group, groups, thread);
  for (var k = 0u; k < perThread && i < arrayLength(&m); k++) {
    m[i] = x[i] - m[i];
    i += 256u;
  }
}

@compute @workgroup_size(256)
fn settleAll(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_index) thread: u32) {
  var i = first(group, groups, thread);
  for (var k = 0u; k < perThread && i < arrayLength(&m); k++) {
    let value = m[i];
    m[i] = -value;
    y[i] = value;
    i += 256u;
  }
}
`

/** Bytes of arrays that no cache holds, or as many as the device allows. */
function bytesFor({ limits }: GPUDevice, settings: Settings, software: boolean): number {
  const wanted = software ? byEffort(settings, 1 << 22, 1 << 22, 1 << 16) : 1 << 29
  const most = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize)
  return Math.min(wanted, most - (most % 4096))
}

/**
 * The bandwidth of each mix of reads and writes, by the fastest of some shaders. The first row is
 * `COPY`.
 */
export async function bandwidth(
  clock: Clock,
  settings: Settings,
  software: boolean,
  progress: (what: string) => void,
): Promise<Row[]> {
  const { device } = clock
  const bytes = bytesFor(device, settings, software)
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
  const arrays = [0, 1, 2].map(() => device.createBuffer({ size: bytes, usage }))
  const [m, y, x] = arrays as [GPUBuffer, GPUBuffer, GPUBuffer]
  for (const [i, array] of arrays.entries()) await fill(device, array, i)
  const buffers = [m, y, x]

  const probe = async (name: string, bindings: readonly number[], each: number) => {
    const tried: Row[] = []
    for (const perThread of PER_THREAD) {
      progress(`${name}, ${perThread} vec4s a thread`)
      const groups = groupsOf(device, Math.ceil(bytes / 16 / 256 / perThread))
      const run = await createPass(device, PROBES, `${name}All`, { perThread }, groups)
      const bound = new Map(bindings.map((i) => [i, { buffer: buffers[i]! }]))
      const samples = await sample(clock, settings, (encoder) => run(encoder, bound))
      const note = `shader, ${perThread} vec4${perThread > 1 ? 's' : ''} a thread`
      tried.push({ name, ...statistics(samples), bytes: (each * bytes) / 4, flops: 0, note })
    }
    return tried
  }
  const mix = (name: Mix, ...bindings: number[]) => probe(name, bindings, MIXES[name])

  progress(COPY)
  const copied = await sample(clock, settings, (encoder) =>
    encoder.copyBufferToBuffer(x, 0, y, 0, bytes),
  )
  const note = 'copyBufferToBuffer'
  const copies = [{ name: COPY, ...statistics(copied), bytes: 2 * bytes, flops: 0, note }]
  const rows = [
    fastest([...copies, ...(await probe(COPY, [1, 2], 8))]),
    ...[
      await mix('read', 1, 2),
      await mix('write', 1),
      await mix('update', 0),
      await mix('accumulate', 0, 2),
      await mix('settle', 0, 1),
    ].map((tried) => ({ ...fastest(tried), yardstick: COPY })),
  ]
  for (const array of arrays) array.destroy()
  return withRatios(rows)
}

const TOUCH = `
@group(0) @binding(0) var<storage, read_write> m: array<u32>;
@compute @workgroup_size(1) fn touch() {
  m[0] += 1u;
}
`

/** Dispatches in a pass. */
const DISPATCHES = 100

/**
 * The costs of requests: dispatches that wait for each other, a submission, 4 kB back from the GPU.
 */
export async function overheads(
  clock: Clock,
  settings: Settings,
  progress: (what: string) => void,
): Promise<Row[]> {
  const { device } = clock
  const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage
  const buffer = device.createBuffer({ size: 4096, usage: STORAGE | COPY_SRC })
  const mapped = device.createBuffer({ size: 4096, usage: MAP_READ | COPY_DST })
  const touch = await createPass(device, TOUCH, 'touch', {}, [1], DISPATCHES)
  const run = (encoder: GPUCommandEncoder) => touch(encoder, new Map([[0, { buffer }]]))

  progress('dispatches')
  const dispatch = await sample(clock, settings, run)
  const rows: [name: string, samples: readonly number[]][] = [
    ['a dispatch that waits for the one before: GPU', dispatch.map((ms) => ms / DISPATCHES)],
  ]
  const wall = async (name: string, once: () => unknown, shares = 1) => {
    progress(name)
    const samples: number[] = []
    for (let i = 0; i < byEffort(settings, 60, 40, 7); i++) {
      const before = performance.now()
      await once()
      // The first two allocate, so they are left out.
      if (i >= 2) samples.push((performance.now() - before) / shares)
      await device.queue.onSubmittedWorkDone()
    }
    rows.push([name, samples])
  }
  await wall(
    'a dispatch: main thread',
    () => {
      const encoder = device.createCommandEncoder()
      run(encoder)
      device.queue.submit([encoder.finish()])
    },
    DISPATCHES,
  )
  await wall('an empty submission: main thread', () =>
    device.queue.submit([device.createCommandEncoder().finish()]),
  )
  await wall('4 kB read back: wall', async () => {
    const encoder = device.createCommandEncoder()
    encoder.copyBufferToBuffer(buffer, 0, mapped, 0, 4096)
    device.queue.submit([encoder.finish()])
    await mapped.mapAsync(GPUMapMode.READ)
    mapped.getMappedRange()
    mapped.unmap()
  })
  buffer.destroy()
  mapped.destroy()
  return rows.map(([name, samples]) => ({ name, ...statistics(samples), bytes: 0, flops: 0 }))
}

function fastest(rows: readonly Row[]): Row {
  return rows.reduce((a, b) => (b.ms < a.ms ? b : a))
}
