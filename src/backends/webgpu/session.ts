// One compressor's phases on the GPU.
import type { Layout, Session, Sink, Slot, Tensor } from '../../backend.ts'
import { type Band, segmentBands } from './bindings.ts'
import { checkTensor } from './check.ts'
import { type CopyJob, copyOut } from './copy-out.ts'
import type { Gpu } from './gpu.ts'
import { type FloatRange, Memory, type TilingBuffers } from './memory.ts'
import { squaredNorms } from './norm.ts'
import { GpuOptimizer } from './optimizer.ts'
import { Readback } from './readback.ts'
import { Recorder, uniformAt } from './recorder.ts'
import { ALIGNED, BATCH, F16, SCALE_FOURS, SCALE_RANGE } from './structs.ts'
import { type BoundTensors, Tensors } from './tensors.ts'

export class WebgpuSession implements Session {
  readonly synchronous = false
  readonly gradients = null
  readonly check = checkTensor
  readonly optimizer: GpuOptimizer
  readonly #gpu: Gpu
  readonly #recorder: Recorder
  readonly #readback: Readback
  readonly #memory: Memory
  readonly #tensors: Tensors
  readonly #copyOut: (jobs: readonly CopyJob[]) => Promise<void>
  /** P as it was read with the flag `refused`; null: the device's has changed since */
  #leftReadAhead: Float32Array | null = null

  /** @throws RangeError  if the device has not the memory */
  static async open(gpu: Gpu, layout: Layout): Promise<WebgpuSession> {
    const recorder = new Recorder(gpu)
    const memory = recorder.checked(() => new Memory(recorder, layout))
    const session = new WebgpuSession(recorder, memory)
    try {
      await recorder.checkErrors()
      await session.#compile()
    } catch (error) {
      session.dispose()
      throw error
    }
    return session
  }

  private constructor(recorder: Recorder, memory: Memory) {
    this.#gpu = recorder.gpu
    this.#recorder = recorder
    this.#memory = memory
    this.#readback = new Readback(recorder.gpu)
    this.#tensors = new Tensors(recorder, memory, this.#readback)
    this.#copyOut = (jobs) => copyOut(recorder, this.#readback, jobs)
    this.optimizer = new GpuOptimizer(recorder, memory, this.#copyOut)
  }

  /** Compiles the pipelines of every step beforehand: that takes longer than a step. */
  async #compile(): Promise<void> {
    await Promise.all([
      this.#accumulating(1),
      this.#backprojecting(),
      this.#gpu.pipeline('reduce'),
      this.#settling(ALIGNED, true, true),
      this.#settling(0, true, true),
    ])
  }

  /** @param sign  of the gradient; 0: it is not added */
  #accumulating(sign: -1 | 0 | 1): Promise<GPUComputePipeline> {
    const constants = { ADD: Math.abs(sign), SIGN: sign || 1, RANKS: this.#ranks(4) }
    return this.#gpu.pipeline('accumulateProject', constants)
  }

  #backprojecting(): Promise<GPUComputePipeline> {
    return this.#gpu.pipeline('backproject', { RANKS: this.#ranks(8) })
  }

  #settling(mode: number, write: boolean, deflate: boolean): Promise<GPUComputePipeline> {
    const entry = mode === ALIGNED ? 'settle' : mode === F16 ? 'settleF16' : 'settleUnaligned'
    return this.#gpu.pipeline('settle', { WRITE: Number(write), DEFLATE: Number(deflate) }, entry)
  }

  /** Columns that a shader takes at a time: the power of two that holds the highest rank, up to `most`. */
  #ranks(most: number): number {
    const largest = this.#memory.layout.matrices.reduce((r, { rank }) => Math.max(r, rank), 1)
    return Math.min(most, 2 ** Math.ceil(Math.log2(largest)))
  }

  async accumulateProject(gradients: readonly Tensor[]): Promise<boolean> {
    const { refused, layout, left } = this.#memory
    const [add, reduce] = await Promise.all([this.#accumulating(1), this.#gpu.pipeline('reduce')])
    this.#leftReadAhead = null
    const leftValues = new Float32Array(layout.leftFloats)
    let bad = false
    const verdict: CopyJob = {
      buffer: refused,
      at: 0,
      floats: 4,
      use: (values) => {
        bad = new Uint32Array(values.buffer, values.byteOffset, 1)[0] !== 0
      },
    }
    this.#recorder.checked(() => {
      const bound = this.#tensors.bind(gradients, null)
      this.#recorder.encoder.clearBuffer(refused)
      this.#accumulate('accumulateProject', add, bound)
      this.#reduce(reduce, this.#memory.wide, left)
    })
    await this.#copyOut([verdict, ...this.#memory.copyJobs('left', leftValues, 0)])
    if (bad) await this.withdraw(gradients)
    else this.#leftReadAhead = leftValues
    return !bad
  }

  async withdraw(gradients: readonly Tensor[]): Promise<void> {
    const subtract = await this.#accumulating(-1)
    this.#recorder.checked(() => {
      const bound = this.#tensors.bind(gradients, null)
      this.#accumulate('withdraw', subtract, bound)
      this.#recorder.flush()
    })
    await this.#recorder.checkErrors()
  }

  #accumulate(label: string, pipeline: GPUComputePipeline, bound: BoundTensors): void {
    const { wide, qHat, segments, parts, refused } = this.#memory
    for (const [i, band] of bound.bands.entries()) {
      this.#tensors.stage(bound, band)
      const g = windowOf(bound, band)
      const group = this.#gpu.bind('accumulateProject', [
        uniformAt(bound.uniforms, i),
        { buffer: wide.tiles },
        { buffer: bound.params },
        { buffer: qHat },
        g,
        g,
        { buffer: segments[band.segment]! },
        { buffer: parts },
        { buffer: refused },
      ])
      this.#recorder.dispatch(label, pipeline, group, band.count)
    }
  }

  async project(): Promise<void> {
    const [pipeline, reduce] = await Promise.all([
      this.#accumulating(0),
      this.#gpu.pipeline('reduce'),
    ])
    this.#leftReadAhead = null
    this.#recorder.checked(() => {
      this.#accumulate('project', pipeline, noTensors(this.#memory))
      this.#reduce(reduce, this.#memory.wide, this.#memory.left)
    })
  }

  async backproject(): Promise<void> {
    const [pipeline, reduce] = await Promise.all([
      this.#backprojecting(),
      this.#gpu.pipeline('reduce'),
    ])
    const { tall, params, left, segments, parts, qLocal } = this.#memory
    this.#recorder.checked(() => {
      for (const [i, { segment, count }] of segmentBands(tall.tiling).entries()) {
        const group = this.#gpu.bind('backproject', [
          uniformAt(tall.bands, i),
          { buffer: tall.tiles },
          { buffer: params },
          { buffer: left },
          { buffer: segments[segment]! },
          { buffer: parts },
        ])
        this.#recorder.dispatch('backproject', pipeline, group, count)
      }
      this.#reduce(reduce, tall, qLocal)
    })
  }

  #reduce(
    pipeline: GPUComputePipeline,
    { sums, sumCount, sumBand }: TilingBuffers,
    to: GPUBuffer,
  ): void {
    const group = this.#gpu.bind('reduce', [
      uniformAt(sumBand, 0),
      { buffer: sums },
      { buffer: this.#memory.parts },
      { buffer: to },
    ])
    this.#recorder.dispatch('reduce', pipeline, group, sumCount)
  }

  async settle(deflate: boolean, raw: Uint8Array | null, sink: Sink | null): Promise<void> {
    if (sink === null) {
      if (deflate) await this.#deflate()
      return
    }
    const { into, scale, accumulate } = sink
    const settling = { scale, accumulate, raw: raw !== null }
    const bound = this.#recorder.checked(() =>
      this.#tensors.bind(into as readonly Tensor[], settling),
    )
    const { bands, modes } = bound
    const pipelines = await Promise.all(
      [...modes].map((mode) => this.#settling(mode, true, deflate)),
    )
    // A word may hold an f16 that is not ours beside one that is: staged, it must survive.
    const stage = accumulate || modes.has(F16)
    const label = deflate ? 'settle' : 'reconstruct'
    const out: Promise<void>[] = []
    for (const [i, band] of bands.entries()) {
      this.#recorder.checked(() => {
        if (raw && band.raws.length > 0) this.#memory.writeRaw(band.raws, raw)
        if (stage) this.#tensors.stage(bound, band)
        for (const pipeline of pipelines) this.#settleBand(label, pipeline, bound, i)
        const done = this.#tensors.unstage(bound, band)
        if (!done) return
        done.catch(() => undefined) // awaited below, unless another fails first
        out.push(done)
      })
      if (out.length > 1) await out.shift()
    }
    this.#recorder.checked(() => this.#recorder.flush())
    await Promise.all(out)
    await this.#recorder.checkErrors()
  }

  /** M ← M − left·qLocalᵀ */
  async #deflate(): Promise<void> {
    const pipeline = await this.#settling(ALIGNED, false, true)
    this.#recorder.checked(() => {
      const bound = noTensors(this.#memory)
      for (const i of bound.bands.keys()) this.#settleBand('residual', pipeline, bound, i)
      this.#recorder.flush()
    })
    await this.#recorder.checkErrors()
  }

  #settleBand(label: string, pipeline: GPUComputePipeline, bound: BoundTensors, i: number): void {
    const band = bound.bands[i]!
    const { wide, left, qLocal, qMean, segments } = this.#memory
    const group = this.#gpu.bind('settle', [
      uniformAt(bound.uniforms, i),
      { buffer: wide.tiles },
      { buffer: bound.params },
      { buffer: left },
      { buffer: qLocal },
      { buffer: qMean },
      { buffer: segments[band.segment]! },
      windowOf(bound, band),
    ])
    this.#recorder.dispatch(label, pipeline, group, band.count)
  }

  async read(slots: readonly Slot[], into: Float32Array): Promise<void> {
    const ahead = slots[0] === 'left' ? this.#leftReadAhead : null
    if (ahead) into.set(ahead)
    let at = ahead?.length ?? 0
    const jobs: CopyJob[] = []
    for (const slot of ahead ? slots.slice(1) : slots) {
      jobs.push(...this.#memory.copyJobs(slot, into, at))
      at += this.#floatsOf(slot)
    }
    await this.#copyOut(jobs)
  }

  #floatsOf(slot: Slot): number {
    const { denseFloats, rawFloats, leftFloats, rightFloats } = this.#memory.layout
    if (slot === 'residual') return denseFloats
    if (slot === 'raw') return rawFloats
    return slot === 'left' ? leftFloats : rightFloats
  }

  write(slot: Slot, values: Uint8Array): void {
    if (slot === 'left') this.#leftReadAhead = null
    this.#recorder.checked(() => this.#memory.write(slot, values))
  }

  scale(slot: 'residual' | 'raw', factor: number): Promise<void> | undefined {
    const ranges = this.#memory.ranges(slot)
    const { segments } = this.#memory
    if (factor !== 0) return this.#multiply(ranges, factor)
    this.#recorder.checked(() => {
      for (const [segment, first, count] of ranges) {
        this.#recorder.encoder.clearBuffer(segments[segment]!, 4 * first, 4 * count)
      }
    })
    return undefined
  }

  async #multiply(ranges: readonly FloatRange[], factor: number): Promise<void> {
    const pipeline = await this.#gpu.pipeline('scale')
    this.#recorder.checked(() => {
      const fours = ranges.map(([, first, count]) => {
        return { first: first / 4, count: count / 4, factor }
      })
      const uniforms = this.#recorder.uniforms(SCALE_RANGE, fours)
      for (const [i, [segment]] of ranges.entries()) {
        const x = { buffer: this.#memory.segments[segment]! }
        const group = this.#gpu.bind('scale', [uniformAt(uniforms, i), x])
        const workgroups = Math.ceil(fours[i]!.count / SCALE_FOURS)
        this.#recorder.dispatch('scale', pipeline, group, workgroups)
      }
      this.#recorder.flush()
    })
    await this.#recorder.checkErrors()
  }

  norms(): Promise<Float64Array> {
    return squaredNorms(this.#recorder, this.#memory, this.#copyOut)
  }

  async orthonormalize(seed: number, step: number): Promise<void> {
    const pipeline = await this.#gpu.pipeline('orthonormalize')
    this.#leftReadAhead = null
    const { params, left, arena } = this.#memory
    const count = arena.matrices.length
    this.#recorder.checked(() => {
      const uniforms = this.#recorder.uniforms(BATCH, [{ count, seed, step }])
      const group = this.#gpu.bind('orthonormalize', [
        uniformAt(uniforms, 0),
        { buffer: params },
        { buffer: left },
      ])
      this.#recorder.dispatch('orthonormalize', pipeline, group, count)
    })
  }

  rearrange(layout: Layout): void {
    this.#leftReadAhead = null
    this.#recorder.checked(() => {
      this.#recorder.flush()
      this.#tensors.clear()
      this.#memory.arrange(layout)
    })
  }

  dispose(): void {
    this.#tensors.clear()
    this.optimizer.destroy()
    this.#readback.destroy()
    this.#memory.destroy()
  }
}

/** The part of a buffer that a band binds. */
function windowOf({ buffer }: BoundTensors, { offset, bytes }: Band): GPUBufferBinding {
  return { buffer, offset, size: bytes }
}

/** Bindings for phases on M alone. */
function noTensors({ wide, params, nothing }: Memory): BoundTensors {
  const bands = segmentBands(wide.tiling)
  return { bands, modes: new Set(), params, uniforms: wide.bands, buffer: nothing, staged: null }
}
