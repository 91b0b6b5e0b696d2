// Whole steps of one worker on the device: compress, aggregate its one frame of each round,
// receive, decompress. `bench/step.ts` has the same on the CPU. Float32 on the wire; the update is
// written over the gradient.
import { aggregate, type Backend, type Compressor, createCompressor } from 'lowrank'
import { createLayout } from 'lowrank/kernels'
import type { Settings } from '../effort.ts'
import { statistics } from '../measure.ts'
import { lengthsOf, type Model } from '../models.ts'
import type { Row } from '../results.ts'
import { MIXES, STEP_BYTES } from '../stream.ts'
import type { Clock, Times } from './clock.ts'
import { collect } from './samples.ts'
import { fill } from './shaders.ts'

/** The place of the gradients: all in one buffer, or each in a buffer of its own. */
export type Layout = 'arena' | 'scattered'

export const LAYOUTS: readonly Layout[] = ['arena', 'scattered']

interface Gradient {
  readonly buffer: GPUBuffer
  readonly offset: number
}

/** Measurements of one step. */
interface Sample {
  /** ms until the queue has done everything */
  readonly wall: number
  /** ms until the last submission, without those in which a readback was awaited */
  readonly main: number
  readonly dispatches: number
  readonly readbacks: number
  /** bytes */
  readonly readBack: number
  readonly written: number
  /** times of another step like this; null: the device has no timestamps */
  readonly times: Times | null
}

/** Rows of passes, for the table of bandwidths, and of whole steps. */
export interface Measured {
  readonly passes: readonly Row[]
  readonly steps: readonly Row[]
}

/** The row of a pass, or of `WHOLE`. */
export function passName(label: string, rank: number, layout: Layout): string {
  return `${label}, r = ${rank}, ${layout}`
}

/** All passes and copies of a step. */
export const WHOLE = 'the whole step'

export function stepName(rank: number, layout: Layout, what: 'wall' | 'main thread' | 'GPU') {
  return `lowrank, r = ${rank}, ${layout}: ${what}`
}

/** @throws RangeError  if the device cannot hold the gradients in this layout */
export async function measureSteps(
  clock: Clock,
  backend: Backend,
  model: Model,
  layout: Layout,
  ranks: readonly number[],
  settings: Settings,
  progress: (what: string) => void,
): Promise<Measured> {
  const { device } = clock
  progress(`${layout}: gradients`)
  const gradients = await createGradients(device, model, layout)
  const buffers = new Set(gradients.map(({ buffer }) => buffer))
  const measured = { passes: [] as Row[], steps: [] as Row[] }
  try {
    const compressor = await createCompressor(model.shapes, { backend, rank: ranks[0]! })
    try {
      const run = async () => {
        let frame: Uint8Array | null = await compressor.compress(gradients)
        while (frame) frame = await compressor.receive(aggregate([frame]))
        await compressor.decompress(gradients)
      }
      await verify(device, compressor, buffers, run)
      for (const rank of ranks) {
        progress(`${layout}, r = ${rank}`)
        compressor.setRank(rank)
        const samples = await collect(
          settings,
          () => sampleStep(clock, run),
          ({ wall, times }) => times?.gpu ?? wall,
        )
        measured.passes.push(...passRows(model, rank, layout, samples))
        measured.steps.push(...stepRows(rank, layout, samples))
      }
    } finally {
      compressor.dispose()
    }
  } finally {
    for (const buffer of buffers) buffer.destroy()
  }
  return measured
}

/**
 * Times one step by the wall's clock, and another on the GPU, for timestamps take some time
 * themselves.
 */
async function sampleStep(clock: Clock, run: () => Promise<void>): Promise<Sample> {
  const { queue } = clock.device
  const before = clock.counts
  const began = performance.now()
  await run()
  const submitted = performance.now()
  const { dispatches, readbacks, readBack, written, waited } = clock.counts
  await queue.onSubmittedWorkDone()
  const done = performance.now()
  return {
    wall: done - began,
    main: submitted - began - (waited - before.waited),
    dispatches: dispatches - before.dispatches,
    readbacks: readbacks - before.readbacks,
    readBack: readBack - before.readBack,
    written: written - before.written,
    times: clock.timestamps ? await clock.time(run) : null,
  }
}

function passRows(
  { shapes }: Model,
  rank: number,
  layout: Layout,
  samples: readonly Sample[],
): Row[] {
  const timed = samples.flatMap(({ times }) => times ?? [])
  if (timed.length === 0) return []
  const { denseFloats, rawFloats } = createLayout(shapes, { rank })
  const bytesOf: Readonly<Record<string, number>> = {
    accumulateProject: MIXES.accumulate * denseFloats,
    backproject: MIXES.read * (denseFloats - rawFloats),
    settle: MIXES.settle * denseFloats,
  }
  const phases = new Map(timed.map((times) => [times, phasesOf(times)]))
  const labels = new Set([...phases.values()].flatMap((ms) => [...ms.keys()]))
  const row = (label: string, bytes: number, ms: (times: Times) => number): Row => ({
    name: passName(label, rank, layout),
    ...statistics(timed.map(ms)),
    bytes,
    flops: 0,
  })
  return [
    ...[...labels].map((label) =>
      row(label, bytesOf[label] ?? 0, (times) => phases.get(times)!.get(label) ?? 0),
    ),
    row(WHOLE, STEP_BYTES * denseFloats, ({ gpu }) => gpu),
  ]
}

/** ms of all passes by label. A phase includes its `reduce`, which also has an entry of its own. */
function phasesOf({ passes }: Times): Map<string, number> {
  const ms = new Map<string, number>()
  const add = (label: string, more: number) => ms.set(label, (ms.get(label) ?? 0) + more)
  let phase = ''
  for (const pass of passes) {
    if (pass.label !== 'reduce') phase = pass.label
    add(phase, pass.ms)
    if (pass.label === 'reduce') add(pass.label, pass.ms)
  }
  return ms
}

function stepRows(rank: number, layout: Layout, samples: readonly Sample[]): Row[] {
  const { dispatches, readbacks, readBack, written } = samples.at(-1)!
  const row = (what: Parameters<typeof stepName>[2], ms: readonly number[]): Row => ({
    name: stepName(rank, layout, what),
    ...statistics(ms),
    bytes: 0,
    flops: 0,
  })
  const gpu = samples.flatMap(({ times }) => times?.gpu ?? [])
  const wall = row(
    'wall',
    samples.map(({ wall }) => wall),
  )
  const note = `${dispatches} dispatches, ${readbacks} readbacks of ${readBack} bytes, ${written} bytes written`
  return [
    { ...wall, dispatches, readbacks, readBack, written, note },
    row(
      'main thread',
      samples.map(({ main }) => main),
    ),
    ...(gpu.length > 0 ? [row('GPU', gpu)] : []),
  ]
}

async function createGradients(
  device: GPUDevice,
  { shapes }: Model,
  layout: Layout,
): Promise<Gradient[]> {
  const lengths = lengthsOf(shapes)
  const sizes = layout === 'arena' ? [lengths.reduce((a, b) => a + b)] : lengths
  const largest = 4 * Math.max(...sizes)
  if (largest > device.limits.maxBufferSize) {
    throw new RangeError(
      `a buffer of ${largest} bytes is needed, and the device has ${device.limits.maxBufferSize} at most`,
    )
  }
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST
  device.pushErrorScope('out-of-memory')
  const buffers = sizes.map((floats) => device.createBuffer({ size: 4 * floats, usage }))
  const lack = await device.popErrorScope()
  if (lack) {
    for (const buffer of buffers) buffer.destroy()
    throw new RangeError(`the device has no memory for the gradients: ${lack.message}`)
  }
  for (const [i, buffer] of buffers.entries()) await fill(device, buffer, i)
  if (layout === 'scattered') return buffers.map((buffer) => ({ buffer, offset: 0 }))
  let offset = 0
  return lengths.map((length) => {
    const tensor = { buffer: buffers[0]!, offset }
    offset += 4 * length
    return tensor
  })
}

/**
 * Checks the first step: the update is a projection of the gradient, and the residual is the rest,
 * so ‖g‖² = ‖u‖² + ‖e‖².
 */
async function verify(
  device: GPUDevice,
  compressor: Compressor,
  buffers: Iterable<GPUBuffer>,
  run: () => Promise<void>,
): Promise<void> {
  const squares = async () => {
    let sum = 0
    for (const buffer of buffers) sum += await squaresOf(device, buffer)
    return sum
  }
  const before = await squares()
  await run()
  const after = (await squares()) + (await compressor.residualNorm()) ** 2
  if (!(Math.abs(after - before) <= 1e-5 * before)) {
    throw new Error(`a step lost something: ‖g‖² = ${before}, ‖u‖² + ‖e‖² = ${after}`)
  }
}

/** Σ x² over a buffer's floats. */
async function squaresOf(device: GPUDevice, buffer: GPUBuffer): Promise<number> {
  const window = 1 << 26
  const { MAP_READ, COPY_DST } = GPUBufferUsage
  const size = Math.min(window, buffer.size)
  const mapped = device.createBuffer({ size, usage: MAP_READ | COPY_DST })
  let sum = 0
  for (let offset = 0; offset < buffer.size; offset += window) {
    const bytes = Math.min(window, buffer.size - offset)
    const encoder = device.createCommandEncoder()
    encoder.copyBufferToBuffer(buffer, offset, mapped, 0, bytes)
    device.queue.submit([encoder.finish()])
    await mapped.mapAsync(GPUMapMode.READ, 0, bytes)
    const values = new Float32Array(mapped.getMappedRange(0, bytes))
    for (let i = 0; i < values.length; i++) sum += values[i]! ** 2 // twice as fast as `for … of`
    mapped.unmap()
  }
  mapped.destroy()
  return sum
}
